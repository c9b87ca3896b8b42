package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/store"
	"github.com/patinadb/patina/transport"
)

// The forms of bytes that inspect knows, and the order in which it tries them.
const (
	formChangeset = "changeset" // canonical bytes (changeset/FORMAT.md)
	formPacked    = "packed"    // as the log and the wire hold them
	formFrames    = "frames"    // of a stream (transport/WIRE.md)
)

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "print a changeset, the frames of a stream, or the schema of a database",
		ArgsUsage: "FILE",
		Description: "Reads FILE, or standard input for -, as bytes or as hexadecimal: a changeset, a packed\n" +
			"changeset as the log keeps it, or the frames of a stream, whatever fits.",
		Subcommands: []*cli.Command{{
			Name:      "schema",
			Usage:     "print what defines the tables that replicate, for db.schema_paths of other nodes",
			ArgsUsage: "FILE",
			Description: "FILE is a patina database, on which a node may run. Printed is what \"patina adopt\" printed\n" +
				"of it, with what the node has made since.",
			Action:       runInspectSchema,
			OnUsageError: usageError,
		}},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "as", Usage: "read it as `FORM`: changeset, packed or frames"},
			jsonFlag("print JSON"),
		},
		Action: runInspect,
	}
}

func runInspect(c *cli.Context) error {
	if err := flagsFirst(c); err != nil {
		return err
	}
	if c.NArg() != 1 {
		return errors.New("inspect takes one file, or - for standard input")
	}
	data, err := inspectInput(c)
	if err != nil {
		return err
	}
	found, err := recognise(data, c.String("as"))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, found)
	}
	var b strings.Builder
	found.print(&b)
	_, err = io.WriteString(c.App.Writer, b.String())
	return err
}

func runInspectSchema(c *cli.Context) error {
	file, err := databaseArgument(c)
	if err != nil {
		return err
	}
	sql, err := store.DumpSchema(c.Context, store.Config{Path: file})
	if err != nil {
		return err
	}
	_, err = io.WriteString(c.App.Writer, sql)
	return err
}

func inspectInput(c *cli.Context) ([]byte, error) {
	name := c.Args().First()
	var b []byte
	var err error
	if name == "-" {
		b, err = io.ReadAll(c.App.Reader)
	} else {
		b, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, fmt.Errorf("read what to inspect: %w", err)
	}
	text := bytes.Join(bytes.Fields(b), nil)
	if digits := make([]byte, hex.DecodedLen(len(text))); len(text) > 0 {
		if _, err := hex.Decode(digits, text); err == nil {
			return digits, nil
		}
	}
	return b, nil
}

// inspection is something recognised: it prints itself and marshals as JSON.
type inspection interface{ print(b *strings.Builder) }

// recognise reads data as form or, if that is empty, as the first form that fits.
func recognise(data []byte, form string) (inspection, error) {
	readers := []struct {
		form string
		read func([]byte) (inspection, error)
	}{
		{formChangeset, readChangeset}, {formPacked, readPacked}, {formFrames, readFrames},
	}
	var reasons []string
	for _, r := range readers {
		if form != "" && form != r.form {
			continue
		}
		found, err := r.read(data)
		if err == nil {
			return found, nil
		}
		reasons = append(reasons, fmt.Sprintf("not %s: %v", r.form, err))
	}
	if reasons == nil {
		return nil, fmt.Errorf("unknown form %q: there are changeset, packed and frames", form)
	}
	return nil, errors.New(strings.Join(reasons, "; "))
}

func readPacked(b []byte) (inspection, error) {
	data, err := changeset.Unpack(b)
	if err != nil {
		return nil, err
	}
	return readChangeset(data)
}

// frameReport is a frame; Changeset is what its payload holds, if it holds one.
type frameReport struct {
	Frame     uint8            `json:"frame"`
	Bytes     int              `json:"bytes"`
	Payload   string           `json:"payload,omitempty"` // hexadecimal, when it is no changeset
	Changeset *changesetReport `json:"changeset,omitempty"`
}

type frameReports []frameReport

func readFrames(b []byte) (inspection, error) {
	var list frameReports
	for len(b) > 0 || len(list) == 0 {
		frame, payload, rest, err := transport.DecodeFrame(b)
		if err != nil {
			return nil, fmt.Errorf("frame %d: %w", len(list)+1, err)
		}
		r := frameReport{Frame: frame, Bytes: len(payload)}
		if found, err := readPacked(payload); err == nil {
			r.Changeset = found.(*changesetReport)
		} else {
			r.Payload = hex.EncodeToString(payload)
		}
		list = append(list, r)
		b = rest
	}
	return list, nil
}

func (l frameReports) print(b *strings.Builder) {
	for _, r := range l {
		fmt.Fprintf(b, "frame type %d, %d bytes\n", r.Frame, r.Bytes)
		if r.Changeset != nil {
			r.Changeset.print(b)
			continue
		}
		for text := r.Payload; text != ""; {
			n := min(64, len(text))
			fmt.Fprintf(b, "  %s\n", text[:n])
			text = text[n:]
		}
	}
}
