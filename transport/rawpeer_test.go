package transport

import (
	"bufio"
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// rawPeer is a peer that has the secret and breaks the protocol above TLS.
type rawPeer struct {
	t    *testing.T
	tr   *quic.Transport
	pc   *vconn
	conn *quic.Conn
	s    *quic.Stream
	r    *bufio.Reader
}

// dialRaw connects node i, without a hello yet.
func (n *vnet) dialRaw(t *testing.T, i int, to *testNode, edit ...func(*Config)) *rawPeer {
	t.Helper()
	cfg := Config{Cluster: testCluster, Identity: Identity{Secret: testSecret}, Name: "raw", Now: time.Now}
	for _, f := range edit {
		f(&cfg)
	}
	id, err := newIdentity(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var keys keyring
	keys.Store(id)
	p := &rawPeer{t: t, pc: n.listen(vaddr(i))}
	p.tr = &quic.Transport{Conn: p.pc}
	p.conn, err = p.tr.Dial(t.Context(), net.UDPAddrFromAddrPort(to.LocalAddr()), keys.tls(), quicConfig())
	if err != nil {
		t.Fatal(err)
	}
	if p.s, err = p.conn.OpenStream(); err != nil {
		t.Fatal(err)
	}
	p.r = bufio.NewReader(p.s)
	return p
}

func rawHello(i int) hello {
	return hello{minVersion: 1, maxVersion: 1, actor: actor(i), nonce: [16]byte{byte(i)}, epoch: 1, dial: 1, cluster: testCluster, name: "raw"}
}

// link says a good hello and waits until the link is up.
func (p *rawPeer) link(i int) {
	p.t.Helper()
	p.s.Write(AppendFrame([]byte{0}, frameHello, rawHello(i).append(nil)))
	if _, err := readHello(p.r); err != nil {
		p.t.Fatal(err)
	}
	p.s.Write(AppendFrame(nil, frameAccept, nil))
	p.s.Close()
	time.Sleep(time.Second)
}

// uni opens a uni stream, writes b and ends the stream.
func (p *rawPeer) uni(b []byte) {
	p.t.Helper()
	s, err := p.conn.OpenUniStreamSync(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	s.Write(b)
	s.Close()
}

// wantClose waits for the peer to close the connection with c.
func (p *rawPeer) wantClose(c Code) {
	p.t.Helper()
	select {
	case <-p.conn.Context().Done():
	case <-time.After(time.Minute):
		p.t.Fatalf("connection was not closed")
	}
	err := context.Cause(p.conn.Context())
	app, ok := errors.AsType[*quic.ApplicationError](err)
	if !ok || !app.Remote || Code(app.ErrorCode) != c {
		p.t.Errorf("closed with %v, want %q", err, c)
	}
}

func (p *rawPeer) stop() {
	p.conn.CloseWithError(quic.ApplicationErrorCode(CodeLeaving), "")
	p.tr.Close()
	p.pc.Close()
}
