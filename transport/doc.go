// Package transport carries bytes between authenticated nodes over QUIC. It
// knows nothing of replication.
//
// A [Transport] owns one UDP socket, on which it both listens and dials, and
// keeps one link per pair of nodes, keyed by actor id and used in both
// directions: a node that can only dial out is reachable over its own link.
// Three classes of traffic share a link:
//
//   - datagrams, unreliable, up to [MaxDatagram] bytes: [Transport.SendDatagram];
//   - unidirectional streams: [Transport.OpenUni];
//   - bidirectional streams: [Transport.OpenBi].
//
// The first byte of a stream is its [Kind]; what follows are frames
// ([Stream.Send], [Stream.Receive]) or, for protocols that bring their own
// framing, raw bytes ([Stream.NetConn]). WIRE.md gives every byte.
//
// # Life of a link
//
// After the TLS handshake both ends exchange a hello. The listener answers only
// a hello that it accepts, and uses the link only once the dialler has accepted
// the answer, so that a refused peer is never announced. When both nodes dial
// at once, both links come up, both ends choose the same survivor (higher
// epoch, then the dial of the smaller actor id, then the newest dial) and the
// other drains for five seconds. [Handler].PeerUp and PeerDown speak of actors,
// not of links: an exchange of one link for another is not reported; a peer
// that restarted is reported down and then up.
//
// # Failures
//
// Whatever ends or prevents a link is a [Code], which is also the sentinel for
// errors.Is. Each is counted ([Stats]) and logged at most once per peer and
// code in a minute. No failure of a peer ends Run.
//
// # Goroutines
//
// New starts nothing. Run starts an accept loop, a notifier (the only caller of
// PeerUp and PeerDown), a sampler of link statistics, and per link two accept
// loops, a datagram reader and a datagram writer; incoming streams run on at
// most uniWorkers + biWorkers goroutines per link. Run returns when all have
// ended.
package transport
