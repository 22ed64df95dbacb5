//! Prints the reference of the language:
//! `cargo run -p seclang --example reference > docs/reference/seclang.md`.

fn main() {
    print!("{}", seclang::reference());
}
