//! WireGuard devices of both drivers, against each other and against Debian's `wireguard-go` and `wg`.
//!
//! ```text
//!  left                              right
//!  wg0 10.9.0.1, fd09::1             wg0 10.9.0.2, fd09::2
//!   │ UDP 51820                       │ UDP 51820
//!  under 192.0.2.1 ───── veth ────── under 192.0.2.2
//! ```

mod kernel;
mod lanes;
mod load;
mod process;
mod protocol;
pub mod site;
pub mod takeover;

use linux::wireguard::kernel_driver_available;
use routerd_core::observed::Driver;

pub use site::program;

/// The drivers that this kernel has. Where the kernel's is expected, it is an error not to have it.
fn drivers() -> Vec<Driver> {
    let mut drivers = vec![Driver::UserSpace];
    if kernel_driver_available() {
        drivers.push(Driver::Kernel);
    } else {
        let expected = std::env::var_os("ROUTERD_EXPECT_KERNEL_WIREGUARD");
        assert!(expected.is_none(), "this kernel has no WireGuard");
    }
    drivers
}
