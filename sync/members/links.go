package members

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/patinadb/patina/changeset"
)

// ErrNoLink is what Links returns when there is no link to the actor now.
var ErrNoLink = errors.New("members: no link to the actor")

// Links carries the library's traffic. All methods may be called at any time by
// several goroutines.
type Links interface {
	// SendDatagram sends b, best effort, and never blocks. Without a link it returns
	// an error that is ErrNoLink, and a link is made; every other error means that
	// the datagram is lost. It may keep b, which nobody changes any more.
	SendDatagram(to changeset.ActorID, b []byte) error
	// OpenStream opens a stream that arrives at the peer's Members.Stream. Without a
	// link it returns an error that is ErrNoLink at once. It obeys ctx. Close of the
	// result ends both directions.
	OpenStream(ctx context.Context, to changeset.ActorID) (net.Conn, error)
	// Connect returns the actor that lives at an address after there is a link to
	// it, which may have existed before. It obeys ctx.
	Connect(ctx context.Context, addr netip.AddrPort) (changeset.ActorID, error)
	// Answers reports whether something arrived from the actor, over a link that is
	// up, within that time, and asks it for a sign of life. It never blocks.
	Answers(actor changeset.ActorID, within time.Duration) bool
}
