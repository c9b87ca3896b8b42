package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"

	"github.com/quic-go/quic-go"

	"github.com/patinadb/patina/changeset"
)

// Code says why a link was refused or has ended. It is an error, and the
// sentinel for errors.Is on whatever this package returns. Codes below 0x100
// travel as QUIC application close codes (WIRE.md, close codes); the others
// are what one end concludes by itself.
type Code uint64

// Close codes.
const (
	CodeLeaving    Code = 0x01 // the peer stops
	CodeSuperseded Code = 0x02 // another link of the pair was kept; this one has drained
	CodeGhost      Code = 0x03 // the peer restarted and this link of its former process no longer answers
	CodeBusy       Code = 0x04 // too many links or handshakes
	CodeRevoked    Code = 0x05 // this end has another identity now, which does not believe what the peer proved

	CodeBadHello           Code = 0x10
	CodeUnsupportedVersion Code = 0x11
	CodeForeignCluster     Code = 0x12
	CodeDuplicateActor     Code = 0x13 // another live process has this actor id
	CodeSelf               Code = 0x14 // the node dialled itself
	CodeHelloTimeout       Code = 0x15

	CodeFrameTruncated   Code = 0x20
	CodeFrameTooLarge    Code = 0x21
	CodeFrameCorrupt     Code = 0x22
	CodeFrameUnsupported Code = 0x23 // unknown frame version
	CodeBadDatagram      Code = 0x24
)

// Codes that are never sent as close codes; TLS alerts say some of them.
const (
	CodeWrongSecret Code = 0x100 // a certificate of another secret, or any other failure of the TLS handshake
	CodeUnreachable Code = 0x101 // nobody answered the handshake
	CodeIdle        Code = 0x102 // nothing was received for the idle timeout
	CodeReset       Code = 0x103 // stateless reset: the peer's process no longer knows the link
	CodeNetwork     Code = 0x104 // any other failure of QUIC or the socket
	CodeWrongCA     Code = 0x105 // a certificate of an authority that is not believed, or that names no node
	CodeExpired     Code = 0x106 // a certificate that is not valid at the time of who checks it
)

var codeText = map[Code]string{
	CodeLeaving:            "peer is leaving",
	CodeSuperseded:         "superseded by another link",
	CodeGhost:              "link of a former process",
	CodeBusy:               "too many links",
	CodeRevoked:            "identity no longer accepted",
	CodeBadHello:           "bad hello",
	CodeUnsupportedVersion: "unsupported protocol version",
	CodeForeignCluster:     "foreign cluster",
	CodeDuplicateActor:     "duplicate actor",
	CodeSelf:               "node dialled itself",
	CodeHelloTimeout:       "no hello in time",
	CodeFrameTruncated:     "truncated frame",
	CodeFrameTooLarge:      "oversized frame",
	CodeFrameCorrupt:       "corrupt frame",
	CodeFrameUnsupported:   "unsupported frame version",
	CodeBadDatagram:        "bad datagram",
	CodeWrongSecret:        "wrong secret or cluster",
	CodeUnreachable:        "unreachable",
	CodeIdle:               "idle timeout",
	CodeReset:              "stateless reset",
	CodeNetwork:            "network error",
	CodeWrongCA:            "wrong certificate authority",
	CodeExpired:            "certificate not valid now",
}

// Error returns the short name of the code, as logs and metrics show it.
func (c Code) Error() string {
	if s, ok := codeText[c]; ok {
		return s
	}
	return fmt.Sprintf("unknown close code 0x%x", uint64(c))
}

// LinkError is the end of a link, or of the attempt to make one.
type LinkError struct {
	Code   Code
	Remote bool // the peer decided; else this end did
	Peer   netip.AddrPort
	Actor  changeset.ActorID // zero if the link never got that far
	Reason string            // detail; chosen by the peer if Remote
	Err    error             // cause, may be nil
}

// Error names the peer, who decided, and why.
func (e *LinkError) Error() string {
	s := "transport: link with " + e.Peer.String()
	if e.Remote {
		s += " refused or closed by the peer: "
	} else {
		s += ": "
	}
	s += e.Code.Error()
	if e.Reason != "" {
		s += fmt.Sprintf(" (%.200q)", e.Reason)
	}
	return s
}

// Unwrap makes both the code and the cause visible to errors.Is.
func (e *LinkError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Code}
	}
	return []error{e.Code, e.Err}
}

// verdict is this end's decision against a peer, before it becomes a LinkError.
type verdict struct {
	code   Code
	detail string
	cause  error // may be nil
}

func refusal(c Code, format string, args ...any) error {
	return &verdict{code: c, detail: fmt.Sprintf(format, args...)}
}

func refusalFor(c Code, cause error) error {
	return &verdict{code: c, detail: cause.Error(), cause: cause}
}

func (v *verdict) Error() string { return v.code.Error() + ": " + v.detail }

func (v *verdict) Unwrap() error { return v.cause }

// Errors of calls on a Transport.
var (
	ErrNoLink           = errors.New("transport: no link to that actor")
	ErrQueueFull        = errors.New("transport: datagram queue full")
	ErrDatagramTooLarge = errors.New("transport: datagram too large")
	ErrNotRunning       = errors.New("transport: not running")
	ErrTooManyDials     = errors.New("transport: too many dials at once")
)

// alertNoALPN is the QUIC error of the TLS alert no_application_protocol: the
// peer speaks another generation of the protocol.
const alertNoALPN = cryptoError + 120

// cryptoError is the first of QUIC's 256 errors that stand for TLS alerts.
const cryptoError = 0x100

// classify maps an error of quic-go, or one of ours that passed through it, to
// a code. remote says that the peer decided.
func classify(err error) (code Code, remote bool, reason string) {
	if app, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return Code(app.ErrorCode), app.Remote, app.ErrorMessage
	}
	if v, ok := errors.AsType[*verdict](err); ok { // possibly inside a TLS error
		return v.code, false, v.detail
	}
	if te, ok := errors.AsType[*quic.TransportError](err); ok {
		switch {
		case te.ErrorCode == alertNoALPN:
			return CodeUnsupportedVersion, te.Remote, "no common application protocol"
		case te.ErrorCode.IsCryptoError():
			return alertCode(tls.AlertError(te.ErrorCode - cryptoError)), te.Remote, ""
		case te.ErrorCode == quic.ConnectionRefused:
			return CodeBusy, te.Remote, ""
		}
		return CodeNetwork, te.Remote, te.Error()
	}
	return classifyLoss(err), false, ""
}

// classifyLoss is the part of classify for links that ended without a word.
func classifyLoss(err error) Code {
	if _, ok := errors.AsType[*quic.VersionNegotiationError](err); ok {
		return CodeUnsupportedVersion
	}
	if _, ok := errors.AsType[*quic.HandshakeTimeoutError](err); ok {
		return CodeUnreachable
	}
	if _, ok := errors.AsType[*quic.IdleTimeoutError](err); ok {
		return CodeIdle
	}
	if _, ok := errors.AsType[*quic.StatelessResetError](err); ok {
		return CodeReset
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return CodeUnreachable
	}
	return CodeNetwork
}

// onWire is the close code that tells the peer of c.
func onWire(c Code) quic.ApplicationErrorCode {
	if c >= CodeWrongSecret { // nothing the peer did; it stops being wanted
		c = CodeLeaving
	}
	return quic.ApplicationErrorCode(c)
}

// linkError wraps err, whatever its source, as the end of a link with addr.
func linkError(err error, addr netip.AddrPort, actor changeset.ActorID) *LinkError {
	if le, ok := errors.AsType[*LinkError](err); ok {
		return le
	}
	code, remote, reason := classify(err)
	return &LinkError{Code: code, Remote: remote, Peer: addr, Actor: actor, Reason: reason, Err: err}
}
