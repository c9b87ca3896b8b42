package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/patinadb/patina/node"
)

func agentCommand() *cli.Command {
	return &cli.Command{
		Name:  "agent",
		Usage: "run a node",
		Description: "Without a configuration file all defaults apply. SIGTERM and SIGINT stop the node within five seconds, " +
			"a second one at once; SIGHUP reads the configuration and the schema files again. " +
			"Environment variables such as PATINA_DB__PATH override the file.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "YAML `FILE`; config.yaml in the source lists every key"},
			&cli.BoolFlag{Name: "with-parent", Usage: "stop when standard input ends", Hidden: true},
		},
		Action: runAgent,
	}
}

// errSecondSignal ends the program at once.
var errSecondSignal = errors.New("stopped at once by a second signal")

func runAgent(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("agent takes no arguments, got %q", c.Args().First())
	}
	load := func() (node.Config, error) { return node.Load(c.String("config"), os.Environ()) }
	cfg, err := load()
	if err != nil {
		return err
	}
	cfg.Reread = load
	if cfg.Now, err = testClock(); err != nil {
		return err
	}
	node.Version = softwareVersion()

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	ctx, stop := context.WithCancel(c.Context)
	defer stop()
	if c.Bool("with-parent") {
		go func() { // ends with the process: a read of standard input cannot be undone
			io.Copy(io.Discard, c.App.Reader)
			stop()
		}()
	}
	reload := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, cfg, c.App.Writer, reload) }()
	var first os.Signal
	var at time.Time
	for {
		select {
		case err := <-ended:
			return err
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				wake(reload)
			case s == first && time.Since(at) < sameSignal:
			case ctx.Err() != nil:
				return errSecondSignal
			default:
				first, at = s, time.Now()
				stop()
			}
		}
	}
}

// sameSignal is how soon a repeated signal counts as the same one: timeout(1)
// sends each to the process and to its group.
const sameSignal = 100 * time.Millisecond

// wake leaves a message in a channel of capacity 1, unless one waits there.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// serve runs a node until ctx ends. It prints where the node is before anybody
// is served.
func serve(ctx context.Context, cfg node.Config, out io.Writer, reload <-chan struct{}) error {
	n, err := node.New(ctx, cfg)
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return nil // stopped during the start
	case err != nil:
		return err
	}
	var reloads sync.WaitGroup
	defer reloads.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	reloads.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-reload:
				n.Reload(ctx) // logged there
			}
		}
	})
	_, printed := fmt.Fprintf(out, "actor %s\napi %s\ngossip %s\ndb %s\n", n.Actor(), n.APIAddr(), n.GossipAddr(), cfg.DB.Path)
	if printed != nil {
		stop()
	}
	return errors.Join(printed, n.Run(ctx))
}
