//! nftables through its JSON interface: the MSS table, tables by owner, the host firewall.
