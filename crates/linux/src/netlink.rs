//! A small blocking rtnetlink and generic netlink client.
