// Packages loads Debian's package index into a patina cluster through its HTTP
// API, with several writers spread over the nodes, waits until the nodes are
// equal, and compares what each of them holds with the source, row by row.
//
//	go run ./examples/packages --nodes ADDR,… [--files DB,…] [--writers 8] [FILE]
//
// The index is FILE, plain or compressed by gzip, or what `apt-cache dumpavail`
// prints. See README.md beside this file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/patinadb/patina/api/client"
)

// options are the command line.
type options struct {
	nodes   []string // API addresses
	files   []string // database files of the nodes
	writers int
	rows    int           // of one request, about
	wait    time.Duration // for the nodes to become equal
	index   string        // file; "": apt-cache
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "packages:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	set := flag.NewFlagSet("packages", flag.ContinueOnError)
	nodes := set.String("nodes", "", "`addresses` of the nodes' APIs, comma-separated (default: all members that the node at PATINA_API or 127.0.0.1:8080 knows)")
	files := set.String("files", "", "database `files` of the nodes, comma-separated, to read with the sqlite3 program (default: read through the API)")
	set.IntVar(&o.writers, "writers", 8, "how many write at the same time")
	set.IntVar(&o.rows, "rows", 200, "about how many rows one request writes")
	set.DurationVar(&o.wait, "wait", 2*time.Minute, "how long the nodes may take to become equal after the last write")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	o.nodes, o.files, o.index = list(*nodes), list(*files), set.Arg(0)
	switch {
	case set.NArg() > 1:
		return o, fmt.Errorf("want at most one index file, got %q", set.Args())
	case o.writers < 1 || o.writers > 1000:
		return o, fmt.Errorf("--writers %d is out of range: allowed are 1 to 1000", o.writers)
	case o.rows < 1 || o.rows > maxRequest:
		return o, fmt.Errorf("--rows %d is out of range: allowed are 1 to %d", o.rows, maxRequest)
	}
	return o, nil
}

// list splits at commas; nothing is no element.
func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// run does what the package's comment says.
func run(ctx context.Context, o options, out io.Writer) error {
	nodes, err := connect(ctx, o.nodes)
	if err != nil {
		return err
	}
	started := time.Now()
	s, err := readSource(ctx, o.index)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "read      %d packages, %d rows in %.1f s (%d repeated stanzas left out)\n",
		len(s.packages), s.rows, time.Since(started).Seconds(), s.repeated)
	if err := createTables(ctx, nodes); err != nil {
		return err
	}

	started = time.Now()
	work := batches(s, o.rows)
	acknowledged, err := load(ctx, nodes, o.writers, work)
	if err != nil {
		return err
	}
	took := time.Since(started).Seconds()
	fmt.Fprintf(out, "wrote     %d rows in %d transactions by %d writers at %d nodes in %.1f s: %.0f rows/s\n",
		s.rows, len(work), o.writers, len(nodes), took, float64(s.rows)/took)

	started = time.Now()
	waiting, cancel := context.WithTimeout(ctx, o.wait)
	defer cancel()
	if err := waitEqual(waiting, nodes, acknowledged); err != nil {
		return err
	}
	fmt.Fprintf(out, "equal     %d nodes, %.1f s after the last write\n", len(nodes), time.Since(started).Seconds())
	return compareAll(ctx, o, nodes, s, out)
}

// connect makes a client for each address. Without addresses one node is asked
// for the others.
func connect(ctx context.Context, addresses []string) ([]*client.Client, error) {
	if len(addresses) == 0 {
		first := os.Getenv("PATINA_API")
		if first == "" {
			first = "127.0.0.1:8080"
		}
		c, err := client.New(first)
		if err != nil {
			return nil, err
		}
		status, err := c.Status(ctx)
		if err != nil {
			return nil, fmt.Errorf("ask %s for the nodes (or name them with --nodes): %w", first, err)
		}
		for _, m := range status.Members {
			if m.State == "alive" && m.APIAddr != "" {
				addresses = append(addresses, m.APIAddr)
			}
		}
	}
	if len(addresses) == 0 {
		return nil, errors.New("no node to write to: name some with --nodes")
	}
	var nodes []*client.Client
	for _, a := range addresses {
		c, err := client.New(a)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, c)
	}
	return nodes, nil
}

// readSource reads the index from a file, or from apt-cache.
func readSource(ctx context.Context, file string) (s *source, err error) {
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if s, err = collect(readIndex(f)); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
	} else if s, err = readApt(ctx); err != nil {
		return nil, err
	}
	if len(s.packages) == 0 {
		return nil, errors.New("the index is empty; if it is apt's, run apt-get update once")
	}
	return s, nil
}

func readApt(ctx context.Context) (*source, error) {
	command := exec.CommandContext(ctx, "apt-cache", "dumpavail")
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("no index of apt's here, name a file: %w", err)
	}
	s, err := collect(readIndex(out))
	io.Copy(io.Discard, out) // so that it ends after an error of ours
	if err := errors.Join(err, command.Wait()); err != nil {
		return nil, fmt.Errorf("apt-cache dumpavail: %w", err)
	}
	return s, nil
}

// compareAll compares both tables at every node with the source: in the files
// that were named, else through the API.
func compareAll(ctx context.Context, o options, nodes []*client.Client, s *source, out io.Writer) error {
	type reader struct {
		name string
		rows func(t *table) iter.Seq2[line, error]
	}
	var readers []reader
	_, err := exec.LookPath("sqlite3")
	switch {
	case len(o.files) > 0 && err == nil:
		for _, file := range o.files {
			readers = append(readers, reader{file, func(t *table) iter.Seq2[line, error] { return fileRows(ctx, file, t) }})
		}
	case len(o.files) > 0:
		fmt.Fprintln(out, "no sqlite3 program here: the files are not read, the API is")
		fallthrough
	default:
		for _, node := range nodes {
			readers = append(readers, reader{node.Addr(), func(t *table) iter.Seq2[line, error] { return nodeRows(ctx, node, t) }})
		}
	}
	for _, r := range readers {
		var rows []string
		for i := range tables {
			t := &tables[i]
			n, err := compare(t, s.rowsOf(t), r.rows(t))
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			rows = append(rows, fmt.Sprintf("%d %s", n, t.name))
		}
		fmt.Fprintf(out, "identical %s: %s\n", r.name, strings.Join(rows, ", "))
	}
	return nil
}
