//! The servers of a stack as hosts that scripts run on, and the text of scripts that they share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::future::join_all;

use super::execute::no_link;
use super::host::Host;
use crate::event::{Cause, Failure};
use crate::name::ServerName;
use crate::script::Call;
use crate::script::calls::{self, Site};
use crate::script::kept::Kept;
use crate::ssh::Link;
use crate::sync::lock;

/// The hosts of a stack.
pub struct Hosts {
    hosts: BTreeMap<ServerName, Host>,
    /// All scripts of the site in one text, made once.
    text: Mutex<Option<(Call, Option<Arc<Kept>>)>>,
}

impl Hosts {
    /// Makes a host of each connection.
    pub fn new(links: &BTreeMap<ServerName, Arc<Link>>) -> Self {
        let hosts = links.iter().map(|(server, link)| (server.clone(), Host::new(link.clone()))).collect();
        Self { hosts, text: Mutex::default() }
    }

    /// The host of a server.
    ///
    /// # Errors
    /// When no connection was prepared for the server.
    pub fn get(&self, server: &ServerName) -> Result<&Host, Failure> {
        self.hosts.get(server).ok_or_else(|| no_link(server))
    }

    /// Has an exec with the site's scripts stand ready on the server, unless one does.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn stand_ready(&self, server: &ServerName, site: &Site<'_>) -> Result<(), Failure> {
        let host = self.get(server)?;
        let Some(text) = self.text(calls::all_of(site)) else { return Ok(()) };
        host.stand_ready(text).await.map_err(|e| Cause::from(e).into())
    }

    /// Ends the connections.
    pub async fn close(&self) {
        join_all(self.hosts.values().map(|host| host.link().close())).await;
    }

    fn text(&self, site: Call) -> Option<Arc<Kept>> {
        let mut made = lock(&self.text);
        if let Some((of, text)) = &*made
            && *of == site
        {
            return text.clone();
        }
        let text = Kept::new(site.clone()).map(Arc::new);
        *made = Some((site, text.clone()));
        text
    }
}
