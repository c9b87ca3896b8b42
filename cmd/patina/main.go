// Command patina runs a node and talks to nodes. Every verb is one file; what
// the verbs that talk to a node do is what package api/client does.
//
// A failure is one line on standard error and exit status 1.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/patinadb/patina/api/client"
)

func main() {
	os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// commands lists the verbs in the order of the help text.
func commands() []*cli.Command {
	return []*cli.Command{
		agentCommand(),
		devclusterCommand(),
		execCommand(),
		queryCommand(),
		migrateCommand(),
		statusCommand(),
		membersCommand(),
		reloadCommand(),
		tlsCommand(),
		adoptCommand(),
		ejectCommand(),
		checkCommand(),
		inspectCommand(),
		versionCommand(),
	}
}

// run is main without the process: it returns the exit status.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	app := &cli.App{
		Name:                      "patina",
		Usage:                     "a leaderless, replicated SQLite",
		Version:                   softwareVersion(),
		HideVersion:               true, // there is a verb
		Reader:                    in,
		Writer:                    out,
		ErrWriter:                 errs,
		Commands:                  commands(),
		DisableSliceFlagSeparator: true, // a comma in a parameter is a comma
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              usageError,
		Action:                    noVerb,
	}
	for _, c := range app.Commands {
		c.OnUsageError = usageError
	}
	err := app.RunContext(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintln(errs, "patina: "+oneLine(describe(err)))
	return 1
}

func usageError(_ *cli.Context, err error, _ bool) error { return err }

func noVerb(c *cli.Context) error {
	name := c.Args().First()
	if name == "" {
		return cli.ShowAppHelp(c)
	}
	hint := cli.SuggestCommand(c.App.Commands, name)
	return fmt.Errorf("unknown verb %q; %s", name, strings.Replace(hint, "Did", "did", 1))
}

// describe turns an error into what helps the one who typed the command.
func describe(err error) string {
	var request *url.Error
	var op *net.OpError
	var refusal *client.StatusError
	switch {
	case errors.As(err, &refusal):
		return err.Error()
	case errors.Is(err, syscall.ECONNREFUSED) && errors.As(err, &request):
		return fmt.Sprintf("no node answers at %s (connection refused); start one with \"patina agent\" or name another with --api", host(request))
	case errors.As(err, &op) && op.Op == "dial" && errors.As(err, &request):
		return fmt.Sprintf("no node answers at %s: %v", host(request), op)
	case errors.As(err, &request) && request.Op == "Post" && !strings.HasSuffix(request.URL, "/v1/reload"):
		return fmt.Sprintf("%s: %v; what was asked may have been done", host(request), request.Err)
	case errors.As(err, &request):
		return fmt.Sprintf("%s: %v", host(request), request.Err)
	}
	return err.Error()
}

func host(e *url.Error) string {
	if u, err := url.Parse(e.URL); err == nil {
		return u.Host
	}
	return e.URL
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
