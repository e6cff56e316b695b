//! Several paths, slow peers, refused routes, limits, changes of policy.
