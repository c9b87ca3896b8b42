package transport

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/patinadb/patina/changeset"
)

// Kind is the first byte of a stream: which protocol speaks on it. The node
// assigns kinds (WIRE.md, kinds); 0 is the hello.
type Kind uint8

const kindHello Kind = 0

const (
	readBuffer  = 4 << 10  // per stream that is read
	copyPayload = 16 << 10 // payloads up to this go out in one write with their header
)

// CancelError is the end of a stream by Cancel, here or at the peer. The link
// goes on.
type CancelError struct {
	Code   uint64
	Remote bool
}

// Error says who cancelled and with which code.
func (e *CancelError) Error() string {
	if e.Remote {
		return fmt.Sprintf("transport: stream cancelled by the peer with code %d", e.Code)
	}
	return fmt.Sprintf("transport: stream cancelled with code %d", e.Code)
}

// Errors of wrong use of a Stream.
var (
	ErrOneWay     = errors.New("transport: the stream does not go that way")
	ErrConcurrent = errors.New("transport: concurrent writes on a stream")
	ErrClosed     = errors.New("transport: stream is closed for sending")
)

// Stream is one stream of a link. One goroutine may send and one may receive
// at a time; Cancel, Close and SetDeadline may be called from any.
type Stream struct {
	kind   Kind
	link   *link
	send   sendSide // nil on an incoming uni stream
	recv   recvSide // nil on an outgoing uni stream
	r      *bufio.Reader
	buf    []byte // of Receive
	prefix []byte // the kind byte, until the first write

	deadline deadline // of writing, for pause

	writing atomic.Bool // held by Send, raw writes and closing
	closed  atomic.Bool // sending has ended
	broken  bool        // a frame was cut: FIN would show the peer a truncated one; owned by the holder of writing

	release sync.Once
	done    chan struct{}
}

type sendSide interface {
	io.WriteCloser
	CancelWrite(quic.StreamErrorCode)
	SetWriteDeadline(time.Time) error
}

type recvSide interface {
	io.Reader
	CancelRead(quic.StreamErrorCode)
	SetReadDeadline(time.Time) error
}

func newStream(l *link, k Kind, send sendSide, recv recvSide) *Stream {
	s := &Stream{kind: k, link: l, send: send, recv: recv, done: make(chan struct{})}
	if recv != nil {
		s.r = bufio.NewReaderSize(recv, readBuffer)
	}
	l.streams.Add(1)
	return s
}

// Kind returns the stream's first byte.
func (s *Stream) Kind() Kind { return s.kind }

// Peer returns the actor at the other end.
func (s *Stream) Peer() changeset.ActorID { return s.link.peer.actor }

// Done is closed once the stream was closed or cancelled at this end.
func (s *Stream) Done() <-chan struct{} { return s.done }

// Send writes one frame. It blocks on flow control; an error leaves the stream
// fit only for Cancel or Close.
func (s *Stream) Send(frame uint8, payload []byte) error {
	if frame == 0 {
		return fmt.Errorf("transport: send: %w: frame type 0", ErrCorrupt)
	}
	if len(payload) > MaxFrame {
		return fmt.Errorf("transport: send: %w: frame of %d bytes, the limit is %d", ErrTooLarge, len(payload), MaxFrame)
	}
	head := appendFrameHeader(make([]byte, 0, 16+min(len(payload), copyPayload)), frame, len(payload))
	if len(payload) <= copyPayload {
		head, payload = append(head, payload...), nil
	}
	_, err := s.write(head, payload)
	return err
}

// write writes head and body, with the kind byte before the first ever, and
// returns how many bytes of head were written, or all.
func (s *Stream) write(head, body []byte) (int, error) {
	if s.send == nil {
		return 0, ErrOneWay
	}
	if !s.writing.CompareAndSwap(false, true) {
		return 0, ErrConcurrent
	}
	defer s.writing.Store(false)
	if s.closed.Load() {
		return 0, ErrClosed
	}
	skip := len(s.prefix)
	if skip > 0 {
		head = append(s.prefix, head...)
		s.prefix = nil
	}
	if c := s.class(); c != classBulk {
		s.link.yield.begin()
		defer s.link.yield.end()
	}
	n, err := s.writePaced(head)
	if err == nil && len(body) > 0 {
		_, err = s.writePaced(body)
	}
	if err != nil {
		s.broken = true
		return max(n-skip, 0), s.failure(err)
	}
	return n - skip, nil
}

// writePaced writes b in pieces, each when its class may.
func (s *Stream) writePaced(b []byte) (n int, err error) {
	for {
		piece := len(b)
		if s.link.pace.rate.Load() > 0 {
			piece = min(piece, paceChunk)
		}
		if s.class() == classBulk {
			piece = min(piece, yieldChunk)
			if calm := s.link.yield.busy(); calm != nil {
				if err := s.pause(yieldMost, calm); err != nil {
					return n, err
				}
			}
		}
		if err := s.link.pace.take(s, piece); err != nil {
			return n, err
		}
		m, err := s.send.Write(b[:piece])
		n += m
		if b = b[piece:]; err != nil || len(b) == 0 {
			return n, err
		}
	}
}

// Receive reads one frame. The payload is valid until the next Receive. A clean
// end is io.EOF. A malformed frame ends the whole link with the code that says
// so; the error then wraps ErrTruncated, ErrTooLarge, ErrCorrupt or
// ErrUnsupported.
func (s *Stream) Receive() (frame uint8, payload []byte, err error) {
	if s.recv == nil {
		return 0, nil, ErrOneWay
	}
	if cap(s.buf) > keepBuffer {
		s.buf = nil
	}
	frame, s.buf, err = readFrame(s.r, s.buf, MaxFrame)
	if err == io.EOF {
		return 0, nil, io.EOF
	}
	if err != nil {
		if code, ok := frameCode(err); ok {
			s.link.close(code, err.Error())
			return 0, nil, err
		}
		return 0, nil, s.failure(err)
	}
	return frame, s.buf, nil
}

// failure translates an error of quic-go.
func (s *Stream) failure(err error) error {
	if se, ok := errors.AsType[*quic.StreamError](err); ok {
		return &CancelError{Code: uint64(se.ErrorCode), Remote: se.Remote}
	}
	if errors.Is(err, quic.ErrStreamClosed) {
		return ErrClosed
	}
	if errors.Is(err, net.ErrClosed) { // so are all ends of a connection
		return linkError(err, s.link.addr, s.link.peer.actor)
	}
	return err
}

// CloseSend says that nothing more is sent. What was sent still arrives.
func (s *Stream) CloseSend() error {
	if s.send == nil {
		return ErrOneWay
	}
	if !s.writing.CompareAndSwap(false, true) {
		return ErrConcurrent
	}
	defer s.writing.Store(false)
	return s.closeSend()
}

// closeSend needs writing to be held.
func (s *Stream) closeSend() error {
	if s.closed.Swap(true) {
		return nil
	}
	if s.recv == nil {
		defer s.finish()
	}
	if s.broken {
		s.send.CancelWrite(0)
		return nil
	}
	if len(s.prefix) > 0 {
		if _, err := s.send.Write(s.prefix); err != nil {
			return s.failure(err)
		}
	}
	if err := s.send.Close(); err != nil {
		return s.failure(err)
	}
	return nil
}

// Cancel ends both directions at once; the peer sees code in a CancelError.
// What was sent may be lost.
func (s *Stream) Cancel(code uint64) {
	if s.send != nil {
		s.closed.Store(true)
		s.send.CancelWrite(quic.StreamErrorCode(code))
	}
	if s.recv != nil {
		s.recv.CancelRead(quic.StreamErrorCode(code))
	}
	s.finish()
}

// Close ends the stream in order: what was sent arrives, and nothing more is
// read. A write in progress is cancelled.
func (s *Stream) Close() error {
	var err error
	if s.send != nil {
		if s.writing.CompareAndSwap(false, true) {
			err = s.closeSend()
			s.writing.Store(false)
		} else {
			s.closed.Store(true)
			s.send.CancelWrite(0)
		}
	}
	if s.recv != nil {
		s.recv.CancelRead(0)
	}
	s.finish()
	return err
}

func (s *Stream) finish() {
	s.release.Do(func() {
		s.link.streamClosed()
		close(s.done)
	})
}

// SetDeadline bounds Send and Receive, also those in progress. The zero time
// means no bound.
func (s *Stream) SetDeadline(t time.Time) error {
	return errors.Join(s.setReadDeadline(t), s.setWriteDeadline(t))
}

func (s *Stream) setReadDeadline(t time.Time) error {
	if s.recv == nil {
		return nil
	}
	return s.recv.SetReadDeadline(t)
}

func (s *Stream) setWriteDeadline(t time.Time) error {
	if s.send == nil {
		return nil
	}
	s.deadline.store(t)
	return s.send.SetWriteDeadline(t)
}

// NetConn returns the stream as raw bytes, for protocols with their own
// framing. Closing it closes the stream.
func (s *Stream) NetConn() net.Conn { return rawConn{s} }

type rawConn struct{ s *Stream }

func (c rawConn) Read(b []byte) (int, error) {
	if c.s.recv == nil {
		return 0, ErrOneWay
	}
	n, err := c.s.r.Read(b)
	if err != nil && err != io.EOF {
		err = c.s.failure(err)
	}
	return n, err
}

func (c rawConn) Write(b []byte) (int, error)        { return c.s.write(b, nil) }
func (c rawConn) Close() error                       { return c.s.Close() }
func (c rawConn) LocalAddr() net.Addr                { return c.s.link.conn.LocalAddr() }
func (c rawConn) RemoteAddr() net.Addr               { return net.UDPAddrFromAddrPort(c.s.link.addr) }
func (c rawConn) SetDeadline(t time.Time) error      { return c.s.SetDeadline(t) }
func (c rawConn) SetReadDeadline(t time.Time) error  { return c.s.setReadDeadline(t) }
func (c rawConn) SetWriteDeadline(t time.Time) error { return c.s.setWriteDeadline(t) }
