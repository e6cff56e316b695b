//! `routerd-lab`: the lab's command line.

fn main() {}
