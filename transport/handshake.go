package transport

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/patinadb/patina/changeset"
)

// The hello exchange (WIRE.md, hello) runs on the dialler's first bidirectional
// stream: hello, answer, accept. The listener answers only a hello that it
// accepts and registers the link on the accept, so neither end announces a peer
// that the other refuses.

// greet is the dialler's half. It returns the link, not yet registered.
func (t *Transport) greet(ctx context.Context, conn *quic.Conn, addr netip.AddrPort, dial uint64) (*link, error) {
	s, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, helloError(conn, err)
	}
	s.SetDeadline(time.Now().Add(helloTimeout))
	defer prod(conn)()
	mine := t.hello(dial)
	if _, err := s.Write(AppendFrame([]byte{byte(kindHello)}, frameHello, mine.append(nil))); err != nil {
		return nil, helloError(conn, err)
	}
	theirs, err := readHello(bufio.NewReaderSize(s, maxHelloBytes))
	if err != nil {
		return nil, helloError(conn, err)
	}
	if err := t.judge(ctx, theirs); err != nil {
		return nil, err
	}
	if _, err := s.Write(AppendFrame(nil, frameAccept, nil)); err != nil {
		return nil, helloError(conn, err)
	}
	if err := s.Close(); err != nil {
		return nil, helloError(conn, err)
	}
	return newLink(conn, addr, theirs, order{epoch: theirs.epoch, dialer: t.cfg.Actor, dial: dial}), nil
}

// welcome is the listener's half.
func (t *Transport) welcome(ctx context.Context, conn *quic.Conn, addr netip.AddrPort) (*link, error) {
	accept, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	s, err := conn.AcceptStream(accept)
	if err != nil {
		return nil, helloError(conn, err)
	}
	s.SetDeadline(time.Now().Add(helloTimeout))
	defer prod(conn)()
	r := bufio.NewReaderSize(s, maxHelloBytes)
	kind, err := r.ReadByte()
	if err == nil && Kind(kind) != kindHello {
		err = refusal(CodeBadHello, "the first stream is of kind %d", kind)
	}
	if err != nil {
		return nil, helloError(conn, err)
	}
	theirs, err := readHello(r)
	if err != nil {
		return nil, helloError(conn, err)
	}
	if err := t.judge(ctx, theirs); err != nil {
		return nil, err
	}
	if _, err := s.Write(AppendFrame(nil, frameHello, t.hello(0).append(nil))); err != nil {
		return nil, helloError(conn, err)
	}
	if err := s.Close(); err != nil {
		return nil, helloError(conn, err)
	}
	if err := readAccept(r); err != nil {
		return nil, helloError(conn, err)
	}
	return newLink(conn, addr, theirs, order{epoch: theirs.epoch, dialer: theirs.actor, dial: theirs.dial}), nil
}

// prod sends probes until the returned function is called. A refusal is one
// packet, which can be lost; it is repeated only in answer to another.
func prod(conn *quic.Conn) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(prodPeriod)
		defer tick.Stop()
		for range maxProds {
			select {
			case <-tick.C:
				conn.SendDatagram(encodeDatagram(datagramProbe, nil))
			case <-conn.Context().Done():
				return
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

func (t *Transport) hello(dial uint64) hello {
	return hello{
		minVersion: MinVersion, maxVersion: MaxVersion,
		actor: t.cfg.Actor, nonce: t.nonce, epoch: t.cfg.Epoch, dial: dial,
		schema: t.cfg.SchemaDigest(), advertise: t.cfg.Advertise,
		cluster: t.cfg.Cluster, name: t.cfg.Name,
	}
}

func readHello(r frameReader) (hello, error) {
	frame, payload, err := readFrame(r, nil, maxHelloBytes)
	if err != nil {
		return hello{}, err
	}
	if frame != frameHello {
		return hello{}, refusal(CodeBadHello, "frame type %d", frame)
	}
	return decodeHello(payload)
}

func readAccept(r frameReader) error {
	frame, payload, err := readFrame(r, nil, 0)
	if err != nil {
		return err
	}
	if frame != frameAccept || len(payload) > 0 {
		return refusal(CodeBadHello, "no accept")
	}
	return nil
}

// judge decides whether a peer is welcome. It can take seconds when another
// process is known under the peer's actor id.
func (t *Transport) judge(ctx context.Context, h hello) error {
	switch {
	case h.minVersion > MaxVersion || h.maxVersion < MinVersion:
		return refusal(CodeUnsupportedVersion, "peer speaks %d to %d, this node %d to %d",
			h.minVersion, h.maxVersion, MinVersion, MaxVersion)
	case h.cluster != t.cfg.Cluster:
		return refusal(CodeForeignCluster, "peer is of %q, this node of %q", h.cluster, t.cfg.Cluster)
	case h.actor == t.cfg.Actor && h.nonce == t.nonce:
		return refusal(CodeSelf, "by another address")
	case h.actor == t.cfg.Actor:
		t.duplicated()
		return refusal(CodeDuplicateActor, "it is this node's")
	}
	return t.contest(ctx, h.actor, h.nonce)
}

// contest refuses a second process under one actor id while the first answers.
// A first one that does not answer is a ghost: its links are closed.
func (t *Transport) contest(ctx context.Context, actor changeset.ActorID, nonce [16]byte) error {
	for _, rival := range t.links.rivals(actor, nonce) {
		if rival.answers(ctx) {
			return refusal(CodeDuplicateActor, "%s answers under it", rival.addr)
		}
		rival.close(CodeGhost, "the peer restarted")
	}
	return nil
}

// helloError says what went wrong in the exchange: the connection's own end if
// it has ended, else the peer's bytes, else time.
func helloError(conn *quic.Conn, err error) error {
	if conn.Context().Err() != nil {
		return context.Cause(conn.Context())
	}
	if _, ok := errors.AsType[*verdict](err); ok {
		return err
	}
	if errors.Is(err, ErrUnsupported) {
		return refusalFor(CodeUnsupportedVersion, err)
	}
	if _, ok := frameCode(err); ok || err == io.EOF {
		return refusalFor(CodeBadHello, err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return refusalFor(CodeHelloTimeout, err)
	}
	if _, ok := errors.AsType[*quic.StreamError](err); ok {
		return refusalFor(CodeBadHello, err)
	}
	return err
}
