//! x
use clap::Parser;
#[derive(Parser)]
struct A {
    #[command(subcommand)]
    v: V,
}
#[derive(clap::Subcommand)]
enum V {
    Api(lab::cloud::api::ApiArgs),
}
fn main() -> anyhow::Result<std::process::ExitCode> {
    let V::Api(a) = A::parse().v;
    lab::cloud::api::run(&a)
}
