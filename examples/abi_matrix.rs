//! Prints `docs/abi-matrix.md`.

fn main() {
    print!("{}", spice_server::abi::matrix::markdown());
}
