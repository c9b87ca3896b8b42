package members

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"

	"github.com/patinadb/patina/changeset"
)

// labelled is a packet of the fake network's cluster.
func labelled(t *testing.T, b ...byte) []byte {
	t.Helper()
	packet, err := memberlist.AddLabelHeaderToPacket(b, "cluster")
	if err != nil {
		t.Fatal(err)
	}
	return packet
}

func encoded(t *testing.T, v any) (out []byte) {
	t.Helper()
	var handle codec.MsgpackHandle
	if err := codec.NewEncoderBytes(&out, &handle).Encode(v); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPacketsAreChecked(t *testing.T) {
	for _, c := range []struct {
		desc   string
		packet []byte
		ok     bool
	}{
		{"ping", labelled(t, pingMessage, 1), true},
		{"ping without a label", []byte{pingMessage, 1}, true}, // refused by the library
		{"nack with a checksum", labelled(t, crcMessage, 0, 0, 0, 0, nackMessage), true},
		{"alive and dead", labelled(t, compoundMessage, 2, 0, 1, 0, 2, aliveMessage, deadMessage, 0), true},
		{"nothing", nil, false},
		{"label alone", labelled(t), false},
		{"compressed", labelled(t, 9, 1), false},
		{"compressed in a compound", labelled(t, compoundMessage, 2, 0, 1, 0, 1, aliveMessage, 9), false},
		{"compressed behind a checksum", labelled(t, crcMessage, 0, 0, 0, 0, 9), false},
		{"encrypted", labelled(t, 10), false},
		{"user message", labelled(t, 8), false},
		{"compound in a compound", labelled(t, compoundMessage, 1, 0, 1, compoundMessage), false},
		{"compound that was cut", labelled(t, compoundMessage, 1, 0, 9, aliveMessage), false},
		{"compound without lengths", labelled(t, compoundMessage, 200), false},
		{"empty part", labelled(t, compoundMessage, 1, 0, 0), false},
		{"label that was cut", []byte{labelHeader, 200, 1}, false},
	} {
		if err := checkPacket(c.packet); (err == nil) != c.ok || err != nil && !errors.Is(err, errRefused) {
			t.Errorf("%s: %v", c.desc, err)
		}
	}
}

func TestStreamsAreChecked(t *testing.T) {
	table := func(nodes, user int) []byte {
		return append([]byte{pushPullMessage}, encoded(t, pushPullHeader{Nodes: nodes, UserStateLen: user})...)
	}
	label := []byte{labelHeader, 2, 'a', 'b'}
	for _, c := range []struct {
		desc         string
		in           []byte
		there, back  bool // is it let in as what a peer begins with, and as its answer
		everyByteCut bool
	}{
		{"ping", append(label, pingMessage, 1), true, false, false},
		{"table", slices.Concat(label, table(3, 0), []byte("rest")), true, false, false},
		{"answer with a table", slices.Concat(table(MaxMembers, 0), []byte("rest")), true, true, true},
		{"acknowledgement", []byte{ackMessage, 1}, false, true, false},
		{"error", []byte{errorMessage}, false, true, false},
		{"more members than there may be", table(MaxMembers+1, 0), false, false, false},
		{"a negative number", table(-1, 0), false, false, false},
		{"state beside the table", table(1, 1), false, false, false},
		{"compressed", append(label, 9), false, false, false},
		{"encrypted", append(label, 10), false, false, false},
		{"user message", append(label, 8), false, false, false},
	} {
		for _, incoming := range []bool{true, false} {
			want := c.there
			if !incoming {
				want = c.back
			}
			if got, err := throughGuard(c.in, incoming); (err == nil) != want || err == nil && !bytes.Equal(got, c.in) {
				t.Errorf("%s, incoming %v: %q, %v", c.desc, incoming, got, err)
			}
		}
		for n := range len(c.in) {
			if got, err := throughGuard(c.in[:n], false); c.everyByteCut && (err != nil || !bytes.Equal(got, c.in[:n])) {
				t.Errorf("%s, cut at %d: %q, %v", c.desc, n, got, err)
			}
		}
	}
	long := append(table(1, 0), make([]byte, maxStreamBytes+100)...)
	if got, err := throughGuard(long, true); err != nil || len(got) != maxStreamBytes {
		t.Errorf("of %d bytes %d pass, %v", len(long), len(got), err)
	}
}

// throughGuard reads what a guarded stream lets through.
func throughGuard(in []byte, incoming bool) ([]byte, error) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		theirs.Write(in)
		theirs.Close()
	}()
	return io.ReadAll(&guardedConn{Conn: ours, incoming: incoming, refused: func(error) {}})
}

// TestHostileMemberCostsLittle: a member that lies about the size of its table, sends
// what expands, and makes up members without end is refused, counted and logged,
// and costs no memory; the others go on.
func TestHostileMemberCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, time.Millisecond, 0)
		defer n.stopAll()
		const limit = 100
		n.limit = limit
		nodes := n.cluster(3)
		within(t, time.Minute, "met", allSee(nodes, Alive))
		victim := nodes[0]
		hostile := testActor(66)
		before := heap()
		lie := append([]byte{pushPullMessage}, encoded(t, pushPullHeader{Nodes: 1 << 20})...)
		for range 64 {
			a, b := newHalf(), newHalf()
			ours := &fakeConn{from: nodes[1], to: victim, in: a, out: b}
			n.running.Go(func() { victim.members.Stream(hostile, &fakeConn{from: victim, to: nodes[1], in: b, out: a}) })
			ours.Write(append([]byte{labelHeader, 7}, "cluster"...))
			ours.Write(lie)
		}
		time.Sleep(time.Second)
		if grown := int64(heap()) - int64(before); grown > 32<<20 {
			t.Errorf("64 lying tables took %d MiB", grown>>20)
		}
		for range 100 {
			victim.members.Datagram(hostile, labelled(t, 9, 1, 2, 3))
		}
		for i := range 2 * limit {
			var a changeset.ActorID
			a[0], a[1], a[2], a[6], a[8] = 7, byte(i), byte(i>>8), 0x40, 0x80
			victim.members.Datagram(hostile, labelled(t, append([]byte{aliveMessage}, encoded(t, aliveFixture{
				Incarnation: 1, Node: formatName(a, 1), Addr: []byte{192, 0, 2, 1}, Port: 9, Vsn: []uint8{1, 5, 2, 0, 0, 0}})...)...))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		r := victim.members.Refused()
		if r.Streams != 64 || r.Packets != 100 || r.Members < limit {
			t.Errorf("refused: %+v", r)
		}
		if got := len(victim.members.Members()); got > limit {
			t.Errorf("%d members", got)
		}
		log := victim.log.String()
		if !strings.Contains(log, "membership traffic is refused") || !strings.Contains(log, hostile.String()) {
			t.Errorf("logged:\n%s", log)
		}
		if lines := strings.Count(log, "level=WARN"); lines > 10 {
			t.Errorf("%d warnings", lines)
		}
		if victim.sees(2) != Alive || victim.sees(3) != Alive {
			t.Errorf("the others are %s and %s", victim.sees(2), victim.sees(3))
		}
	})
}

// aliveFixture is the library's message.
type aliveFixture struct {
	Incarnation uint32
	Node        string
	Addr        []byte
	Port        uint16
	Meta        []byte
	Vsn         []uint8
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
