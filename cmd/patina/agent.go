package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

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
	n, err := node.New(ctx, cfg)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.App.Writer, "actor %s\napi %s\ngossip %s\ndb %s\n", n.Actor(), n.APIAddr(), n.GossipAddr(), cfg.DB.Path); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	for stopping := false; ; {
		select {
		case err := <-ended:
			return err
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				n.Reload(ctx) // logged there
			case stopping:
				return errSecondSignal
			default:
				stopping = true
				stop()
			}
		}
	}
}
