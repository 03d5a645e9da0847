//! A balancer in front of the replicas.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

use crate::stack::Replica;

/// Where all replicas are found: each connection goes to the next one that takes part.
pub(crate) struct Balancer {
    pub(crate) url: String,
    replicas: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Balancer {
    /// It ends with the runtime.
    pub(crate) fn start(runtime: &Runtime) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let replicas = Arc::<Mutex<Vec<SocketAddr>>>::default();
        runtime.spawn(accept(listener, Arc::clone(&replicas)));
        Self { url, replicas }
    }

    /// Which replicas take part from now on.
    pub(crate) fn lead_to<'a>(&self, replicas: impl IntoIterator<Item = &'a Replica>) {
        let address = |replica: &Replica| {
            let url = replica.http.url.strip_prefix("http://").expect("http");
            url.parse().expect("an address")
        };
        *self.replicas.lock().expect("no panic") = replicas.into_iter().map(address).collect();
    }
}

async fn accept(listener: TcpListener, replicas: Arc<Mutex<Vec<SocketAddr>>>) {
    for turn in 0.. {
        let (mut client, _) = listener.accept().await.expect("a connection");
        let replica = {
            let replicas = replicas.lock().expect("no panic");
            replicas[turn % replicas.len()]
        };
        tokio::spawn(async move {
            if let Ok(mut replica) = TcpStream::connect(replica).await {
                // Either end closes, and the other one sees it.
                drop(copy_bidirectional(&mut client, &mut replica).await);
            }
        });
    }
}
