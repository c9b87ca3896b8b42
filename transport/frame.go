package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Limits of frames (WIRE.md, frames).
const (
	// FrameVersion is the first byte of every frame.
	FrameVersion = 1
	// MaxFrame is the largest payload of a frame in bytes: the largest
	// changeset (32 MiB) and room for what a protocol puts around it.
	MaxFrame = 34 << 20

	maxLengthBytes = 5        // of the uvarint of a length
	growStep       = 64 << 10 // first allocation for a payload, whatever its declared length
	keepBuffer     = 1 << 20  // a receive buffer above this is not kept for the next frame
)

// What a peer can get wrong in a frame or a hello: four different errors.
var (
	ErrTruncated   = errors.New("truncated")
	ErrTooLarge    = errors.New("too large")
	ErrCorrupt     = errors.New("corrupt")
	ErrUnsupported = errors.New("unsupported version")
)

// AppendFrame appends the encoding of one frame to b. It panics on type 0 and
// on a payload over MaxFrame, which are errors of the caller.
func AppendFrame(b []byte, frame uint8, payload []byte) []byte {
	return append(appendFrameHeader(b, frame, len(payload)), payload...)
}

func appendFrameHeader(b []byte, frame uint8, n int) []byte {
	if frame == 0 || n > MaxFrame {
		panic(fmt.Sprintf("transport: frame of type %d with %d bytes", frame, n))
	}
	b = append(b, FrameVersion, frame)
	return binary.AppendUvarint(b, uint64(n))
}

// DecodeFrame decodes the first frame of b. The payload and rest alias b.
// Errors wrap ErrTruncated, ErrTooLarge, ErrCorrupt or ErrUnsupported.
func DecodeFrame(b []byte) (frame uint8, payload, rest []byte, err error) {
	r := sliceReader{b: b}
	frame, n, err := readFrameHeader(&r, MaxFrame)
	if err == io.EOF {
		err = fmt.Errorf("transport: frame: %w: no bytes", ErrTruncated)
	}
	if err != nil {
		return 0, nil, nil, err
	}
	if n > len(r.b) {
		return 0, nil, nil, truncatedFrame(len(r.b), n)
	}
	return frame, r.b[:n:n], r.b[n:], nil
}

type sliceReader struct{ b []byte }

func (r *sliceReader) ReadByte() (byte, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c, nil
}

// readFrameHeader reads version, type and length. io.EOF, unwrapped, means that
// the input ended before the first byte; within the header it is ErrTruncated.
func readFrameHeader(r io.ByteReader, limit int) (frame uint8, n int, err error) {
	version, err := r.ReadByte()
	if err != nil {
		return 0, 0, err
	}
	if version != FrameVersion {
		return 0, 0, fmt.Errorf("transport: frame: %w %d, this node speaks %d", ErrUnsupported, version, FrameVersion)
	}
	if frame, err = r.ReadByte(); err != nil {
		return 0, 0, inHeader(err)
	}
	if frame == 0 {
		return 0, 0, fmt.Errorf("transport: frame: %w: type 0", ErrCorrupt)
	}
	length, err := readLength(r)
	if err != nil {
		return 0, 0, err
	}
	if length > uint64(limit) {
		return 0, 0, fmt.Errorf("transport: frame: %w: %d bytes, the limit is %d", ErrTooLarge, length, limit)
	}
	return frame, int(length), nil
}

// readLength reads a minimal uvarint of at most maxLengthBytes.
func readLength(r io.ByteReader) (uint64, error) {
	var v uint64
	for i := range maxLengthBytes {
		c, err := r.ReadByte()
		if err != nil {
			return 0, inHeader(err)
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				return 0, fmt.Errorf("transport: frame: %w: length is not minimal", ErrCorrupt)
			}
			return v, nil
		}
	}
	return 0, fmt.Errorf("transport: frame: %w: length of more than %d bytes", ErrCorrupt, maxLengthBytes)
}

func inHeader(err error) error {
	if err == io.EOF {
		return fmt.Errorf("transport: frame: %w in its header", ErrTruncated)
	}
	return err
}

func truncatedFrame(got, want int) error {
	return fmt.Errorf("transport: frame: %w: %d of %d bytes", ErrTruncated, got, want)
}

// frameReader is what frames are read from.
type frameReader interface {
	io.Reader
	io.ByteReader
}

// readFrame reads one frame into buf's storage, which it grows with the data
// received: a declared length alone allocates growStep at most.
func readFrame(r frameReader, buf []byte, limit int) (frame uint8, payload []byte, err error) {
	frame, n, err := readFrameHeader(r, limit)
	if err != nil {
		return 0, buf, err
	}
	buf = buf[:0]
	for len(buf) < n {
		have := len(buf)
		step := min(n-have, max(have, growStep))
		buf = slices.Grow(buf, step)
		m, err := io.ReadFull(r, buf[have:have+step])
		buf = buf[:have+m]
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return 0, buf, truncatedFrame(len(buf), n)
		}
		if err != nil {
			return 0, buf, err
		}
	}
	return frame, buf, nil
}

// frameCode maps a decoding error to its close code; ok is false for errors
// that are not the peer's encoding.
func frameCode(err error) (c Code, ok bool) {
	switch {
	case errors.Is(err, ErrTruncated):
		return CodeFrameTruncated, true
	case errors.Is(err, ErrTooLarge):
		return CodeFrameTooLarge, true
	case errors.Is(err, ErrCorrupt):
		return CodeFrameCorrupt, true
	case errors.Is(err, ErrUnsupported):
		return CodeFrameUnsupported, true
	}
	return 0, false
}
