//! Sample data: "Northpass Outfitters", an outdoor-gear shop.

/// The schema `shop` with its data, about 70,000 rows, for an empty database.
///
/// One script of plain SQL, to be run in one go by a superuser (or by an owner of the database who may create
/// roles). It is one transaction: it loads whole or not at all. The rows are the same on every machine and
/// version. It makes the login role [`SHOP_READER`] where the cluster has none yet.
pub const SHOP: &str = include_str!("../sample/shop.sql");

/// A role that can read the schema `shop` and do nothing else; it has no password.
pub const SHOP_READER: &str = "shop_reader";
