package main

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/patinadb/patina/api/client"
)

//go:embed devcluster.sql
var sampleSchema string

// devclusterWait bounds the start of one node.
const devclusterWait = 20 * time.Second

func devclusterCommand() *cli.Command {
	return &cli.Command{
		Name:        "devcluster",
		Usage:       "run a cluster of node processes on this machine, to try things",
		Description: "Prints where the nodes are and lines to paste. Ctrl-C stops them all.",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "n", Usage: "`NUMBER` of nodes, 1 to 20", Value: 3},
			&cli.StringFlag{Name: "dir", Usage: "keep the data in `FOLDER` (default: a temporary one, removed at the end)"},
		},
		Action: runDevcluster,
	}
}

// devnode is one node process of the cluster.
type devnode struct {
	name, dir string
	process   *exec.Cmd
	stdin     io.Closer         // the node stops when it ends, also if we are killed
	facts     map[string]string // what the agent printed: actor, api, gossip, db
	ended     chan error
}

func runDevcluster(c *cli.Context) (err error) {
	if c.Args().Present() {
		return fmt.Errorf("devcluster takes no arguments, got %q", c.Args().First())
	}
	count := c.Int("n")
	if count < 1 || count > 20 {
		return fmt.Errorf("--n is %d, allowed are 1 to 20", count)
	}
	dir := c.String("dir")
	if dir == "" {
		if dir, err = os.MkdirTemp("", "patina-devcluster-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := writeSample(dir); err != nil {
		return err
	}
	nodes, err := startNodes(ctx, dir, count)
	defer func() {
		stop() // from here on a signal ends us at once, and the nodes see that
		for _, n := range nodes {
			n.stdin.Close()
		}
		for _, n := range nodes {
			<-n.ended
		}
	}()
	if err == nil {
		err = printDevcluster(c.App.Writer, nodes)
	}
	if err == nil {
		err = watch(ctx, nodes)
	}
	if ctx.Err() != nil {
		return nil // stopped, perhaps during the start
	}
	return err
}

// startNodes starts one node after the other and waits until each is ready. It
// returns those that run, also with an error.
func startNodes(ctx context.Context, dir string, count int) (nodes []*devnode, err error) {
	for i := range count {
		n := &devnode{name: fmt.Sprintf("node%d", i+1), dir: filepath.Join(dir, fmt.Sprintf("node%d", i+1)), ended: make(chan error, 1)}
		var bootstrap string
		if i > 0 {
			bootstrap = nodes[0].facts["gossip"]
		}
		if err := n.start(ctx, dir, bootstrap); err != nil {
			return nodes, fmt.Errorf("%s: %w", n.name, err)
		}
		nodes = append(nodes, n)
		if err := n.waitReady(ctx); err != nil {
			return nodes, fmt.Errorf("%s: %w; its log ends with: %s", n.name, err, lastLine(n.logFile()))
		}
	}
	return nodes, nil
}

func writeSample(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "schema"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "schema", "registry.sql"), []byte(sampleSchema), 0o644)
}

func (n *devnode) logFile() string { return filepath.Join(n.dir, "agent.log") }

// start runs the agent in a process group of its own, so that Ctrl-C reaches us
// alone, and reads what it prints. After an error nothing runs.
func (n *devnode) start(ctx context.Context, dir, bootstrap string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return err
	}
	config := fmt.Sprintf("db: {path: %q, schema_paths: [%q]}\napi: {addr: 127.0.0.1:0}\ngossip: {addr: 127.0.0.1:0, cluster: devcluster, bootstrap: [%s]}\n",
		filepath.Join(n.dir, "patina.db"), filepath.Join(dir, "schema"), bootstrap)
	file := filepath.Join(n.dir, "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return err
	}
	log, err := os.OpenFile(n.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	n.process = exec.Command(program, "agent", "--with-parent", "-c", file)
	n.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	n.process.Stderr = log
	if n.stdin, err = n.process.StdinPipe(); err != nil {
		return err
	}
	out, err := n.process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := n.process.Start(); err != nil {
		return err
	}
	printed := make(chan map[string]string, 1)
	go func() { printed <- readFacts(out); n.ended <- n.process.Wait() }()
	select {
	case n.facts = <-printed:
	case <-ctx.Done():
		n.stdin.Close() // which makes it stop
		<-printed
	}
	if n.facts["db"] == "" {
		return fmt.Errorf("it did not start (%v): %s", <-n.ended, lastLine(n.logFile()))
	}
	return nil
}

// readFacts reads what an agent prints at its start, until it has all or the
// output ends.
func readFacts(out io.Reader) map[string]string {
	facts := map[string]string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if facts[key] = value; key == "db" {
			break
		}
	}
	return facts
}

func lastLine(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

// waitReady asks the node until it is ready.
func (n *devnode) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, devclusterWait)
	defer cancel()
	node, err := client.New(n.facts["api"])
	if err != nil {
		return err
	}
	defer node.Close()
	ticks := time.NewTicker(50 * time.Millisecond)
	defer ticks.Stop()
	for {
		if err = node.Ready(ctx); err == nil {
			return nil
		}
		select {
		case <-ticks.C:
		case ended := <-n.ended:
			n.ended <- ended
			return fmt.Errorf("it ended: %w", ended)
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", err)
		}
	}
}

// watch waits for the end of ctx; a node that ends before is an error.
func watch(ctx context.Context, nodes []*devnode) error {
	ended := make(chan *devnode, len(nodes))
	for _, n := range nodes {
		go func() {
			err := <-n.ended
			n.ended <- err
			ended <- n
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case n := <-ended:
		return fmt.Errorf("%s ended: %s", n.name, lastLine(n.logFile()))
	}
}

// plainWord is text that a shell takes as it is.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// shellWord quotes s for a shell, if it must be.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func printDevcluster(out io.Writer, nodes []*devnode) error {
	var b strings.Builder
	const run = "go run ./cmd/patina"
	var apis, files []string
	var migrations strings.Builder
	for _, n := range nodes {
		fmt.Fprintf(&migrations, "  %s migrate --api %s \"CREATE TABLE notes(id TEXT NOT NULL PRIMARY KEY, text TEXT)\"\n", run, n.facts["api"])
		fmt.Fprintf(&b, "%s  api %s  gossip %s\n       file %s\n", n.name, n.facts["api"], n.facts["gossip"], n.facts["db"])
		apis, files = append(apis, n.facts["api"]), append(files, n.facts["db"])
	}
	first, last := nodes[0], nodes[len(nodes)-1]
	fmt.Fprintf(&b, `
Write on one node, read on another (paste into a second terminal, in the same folder):

  %[1]s exec --api %[2]s "INSERT INTO services(id, name, address, port) VALUES('web-1', 'web', '10.0.0.7', 8080)"
  %[1]s query --api %[3]s "SELECT * FROM services"
  %[1]s exec --api %[3]s "UPDATE services SET healthy = 0 WHERE id = 'web-1'"
  %[1]s query --api %[2]s "SELECT id, healthy FROM services"
  %[1]s members --api %[2]s
  %[1]s status --api %[3]s

A schema is made on each node, for now:

%[7]s
With the sqlite3 program, straight from a node's file:

  sqlite3 %[4]s "SELECT * FROM services"

With curl:

  curl -s http://%[2]s/v1/transactions -d '[["INSERT INTO services(id, name, address, port) VALUES(?, ?, ?, ?)", "web-2", "web", "10.0.0.8", 8080]]'
  curl -s http://%[3]s/v1/queries -d '"SELECT * FROM services"'

With apt-cache, Debian's whole package index through the API of all nodes:

  go run ./examples/packages --nodes %[5]s --files %[6]s

Ctrl-C stops the nodes.
`, run, first.facts["api"], last.facts["api"], shellWord(last.facts["db"]), strings.Join(apis, ","), shellWord(strings.Join(files, ",")), &migrations)
	_, err := io.WriteString(out, b.String())
	return err
}
