//! bitfit-cli
fn main() {}
