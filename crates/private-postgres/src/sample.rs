//! Sample data: "Northpass Outfitters", an outdoor-gear shop.

/// The schema `shop` with its data, about 70,000 rows, for an empty database.
///
/// One plain SQL script, to be run at once by a superuser (or by an owner of the database who may create roles). It is
/// a single transaction: it loads completely or not at all. The rows are the same on every machine and version. It
/// creates the login role [`SHOP_READER`] if the cluster does not have it yet.
pub const SHOP: &str = include_str!("../sample/shop.sql");

/// A role that can only read the schema `shop`; it has no password.
pub const SHOP_READER: &str = "shop_reader";
