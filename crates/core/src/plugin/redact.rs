//! Takes out of a text what looks like a credential.
//!
//! Executors are told not to print any; this is for those that do, and for what a cloud echoes. It works on
//! words: a text stays readable, and a JSON text stays JSON.

const REMOVED: &str = "[redacted]";
/// Names, in lower case and without `-` and `_`, whose value is a secret.
const SECRET_NAMES: [&str; 9] = [
    "secret",
    "password",
    "passwd",
    "token",
    "apikey",
    "accesskey",
    "sharedkey",
    "privatekey",
    "credential",
];
/// Names that end like a secret's and hold none.
const PLAIN_NAMES: [&str; 4] = ["tokenendpoint", "tokentype", "tokenexpires", "invalidtoken"];
/// What stands before a credential in an `Authorization` header.
const SCHEMES: [&str; 4] = ["bearer", "basic", "sharedaccesssignature", "aws4hmacsha256"];
/// Shorter than this, a word of letters and digits says nothing.
const RANDOM: usize = 40;
/// The length of 32 bytes in base64, as WireGuard writes keys.
const KEY: usize = 44;

/// The text without credentials: `Bearer …`, values of `token=…`, `"password": "…"` and the like, JSON web
/// tokens, access keys, private keys in PEM, passwords in addresses, and long random words.
pub fn redact(text: &str) -> String {
    rewrite(text, true)
}

/// Whether a text has something that is surely a credential. Long random words are not: names may look like that.
pub fn holds_credential(text: &str) -> bool {
    rewrite(text, false) != text
}

fn rewrite(text: &str, random: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut reader = Reader {
        expects: Expects::Nothing,
        random,
    };
    while let Some((word, tail)) = next_word(rest) {
        if let Some(end) = word_is_pem(rest) {
            out.push_str(REMOVED);
            rest = rest.get(end..).unwrap_or_default();
            continue;
        }
        reader.word(word, &mut out);
        rest = tail;
        let separator = rest.len() - rest.trim_start_matches(is_separator).len();
        let (between, tail) = rest.split_at(separator);
        reader.between(between);
        out.push_str(between);
        rest = tail;
    }
    out
}

/// The first word, which may be empty at the start of a text, and what follows it.
fn next_word(text: &str) -> Option<(&str, &str)> {
    if text.is_empty() {
        return None;
    }
    let end = text.find(is_separator).unwrap_or(text.len());
    Some(text.split_at(end))
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || "\"'`,;&?{}[]()<>|\\".contains(c)
}

/// Where a private key that begins here ends.
fn word_is_pem(text: &str) -> Option<usize> {
    const BEGIN: &str = "-----BEGIN";
    let rest = text.strip_prefix(BEGIN)?;
    let header = rest.split("-----").next()?;
    if !header.contains("PRIVATE KEY") {
        return None;
    }
    let footer = format!("-----END{header}-----");
    Some(
        text.find(&footer)
            .map_or(text.len(), |start| start + footer.len()),
    )
}

struct Reader {
    expects: Expects,
    /// Whether long random words count.
    random: bool,
}

/// What the words so far say about the next one.
#[derive(Default)]
enum Expects {
    #[default]
    Nothing,
    /// A name of a secret: its value follows if `=` or `:` does.
    Named,
    /// The value follows.
    Due,
}

impl Reader {
    fn word(&mut self, word: &str, out: &mut String) {
        let state = std::mem::take(&mut self.expects);
        if word.is_empty() {
            self.expects = state;
            return;
        }
        match state {
            Expects::Due if is_scheme(word) => {
                self.expects = Expects::Due;
                out.push_str(word);
            }
            Expects::Due => out.push_str(REMOVED),
            Expects::Named if matches!(word, ":" | "=") => {
                self.expects = Expects::Due;
                out.push_str(word);
            }
            Expects::Named | Expects::Nothing => self.plain(word, out),
        }
    }

    /// A word that nothing before it makes a secret.
    fn plain(&mut self, word: &str, out: &mut String) {
        if is_scheme(word) {
            self.expects = Expects::Due;
            out.push_str(word);
            return;
        }
        match word.find(['=', ':']) {
            Some(at) if is_secret_name(word.get(..at).unwrap_or_default()) => {
                let (name, value) = word.split_at(at + 1);
                out.push_str(name);
                if value.is_empty() {
                    self.expects = Expects::Due;
                } else {
                    out.push_str(REMOVED);
                }
            }
            _ if is_secret_name(word) => {
                self.expects = Expects::Named;
                out.push_str(word);
            }
            _ => out.push_str(&without_credentials(word, self.random)),
        }
    }

    /// A new line ends what was expected: the value of a name stands beside it.
    fn between(&mut self, separators: &str) {
        if separators.contains('\n') && matches!(self.expects, Expects::Named) {
            self.expects = Expects::Nothing;
        }
    }
}

fn is_scheme(word: &str) -> bool {
    SCHEMES.contains(&plain_name(word).as_str())
}

fn plain_name(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

fn is_secret_name(name: &str) -> bool {
    let name = plain_name(name);
    let secret = name == "sig" || SECRET_NAMES.iter().any(|secret| name.ends_with(secret));
    secret && !PLAIN_NAMES.contains(&name.as_str())
}

/// A word without the credentials that show by their form.
fn without_credentials(word: &str, random: bool) -> String {
    // header.payload.signature, the first two of them JSON objects (RFC 7519)
    if let Some(at) = word.find("eyJ")
        && word.get(at..).is_some_and(|token| token.contains('.'))
    {
        return format!("{}{REMOVED}", word.get(..at).unwrap_or_default());
    }
    if let Some((before, host)) = userinfo(word) {
        return format!("{before}{REMOVED}{host}");
    }
    let (bare, end) = word.split_at(word.trim_end_matches(['.', ':']).len());
    if is_access_key(bare) || random && is_random(bare) {
        return format!("{REMOVED}{end}");
    }
    word.to_owned()
}

/// `scheme://user:password@host` as what stands before and after the password.
fn userinfo(word: &str) -> Option<(&str, &str)> {
    let authority = word.find("://")? + 3;
    let at = authority + word.get(authority..)?.find('@')?;
    let colon = authority + word.get(authority..at)?.find(':')? + 1;
    Some((word.get(..colon)?, word.get(at..)?))
}

/// An access key of AWS.
fn is_access_key(word: &str) -> bool {
    let code = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    word.len() == 20
        && ["AKIA", "ASIA"].iter().any(|start| word.starts_with(start))
        && word.chars().all(code)
}

/// Long, of letters in both cases and digits, and without the marks of names and paths.
fn is_random(word: &str) -> bool {
    let key = word.len() == KEY && word.ends_with('=');
    let code = |c: char| c.is_ascii_alphanumeric() || "+=_-~".contains(c) || key && c == '/';
    let has = |kind: fn(&char) -> bool| word.chars().any(|c| kind(&c));
    (key || word.len() >= RANDOM)
        && word.chars().all(code)
        && has(char::is_ascii_uppercase)
        && has(char::is_ascii_lowercase)
        && has(char::is_ascii_digit)
}
