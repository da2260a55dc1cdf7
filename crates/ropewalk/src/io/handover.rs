//! The sockets of tokio to which ours can be handed over and back, under the names that `net` knows them by.

pub(crate) use tokio::net::TcpListener as TokioTcpListener;
pub(crate) use tokio::net::TcpStream as TokioTcpStream;
pub(crate) use tokio::net::UdpSocket as TokioUdpSocket;
pub(crate) use tokio::net::UnixDatagram as TokioUnixDatagram;
pub(crate) use tokio::net::UnixListener as TokioUnixListener;
pub(crate) use tokio::net::UnixStream as TokioUnixStream;
