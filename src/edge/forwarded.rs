//! stub
use super::request::Request;
use crate::config::TrustedProxies;
use std::net::IpAddr;
/// stub
pub struct Client {
    #[allow(missing_docs)]
    pub address: Option<IpAddr>,
    #[allow(missing_docs)]
    pub secure: bool,
}
/// stub
pub fn client(_r: &Request, peer: Option<IpAddr>, secure: bool, _t: &TrustedProxies) -> Client {
    Client { address: peer, secure }
}
