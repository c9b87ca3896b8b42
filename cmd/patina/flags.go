package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/patinadb/patina/api/client"
)

const defaultAPI = "127.0.0.1:8080"

// apiFlag names the node that a verb talks to.
func apiFlag() cli.Flag {
	return &cli.StringFlag{Name: "api", Usage: "`ADDR` of the node's API", Value: defaultAPI, EnvVars: []string{"PATINA_API"}}
}

func jsonFlag(usage string) cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: usage}
}

func paramFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "param", Aliases: []string{"p"},
		Usage: "`VALUE` of the next ? in the statement: JSON if it is, else text; repeatable"}
}

// connect returns a client of the node that --api names.
func connect(c *cli.Context) (*client.Client, error) {
	if err := flagsFirst(c); err != nil {
		return nil, err
	}
	return client.New(c.String("api"))
}

// flagsFirst refuses a flag behind an argument, which would be taken for SQL. A
// comment begins with two hyphens as well, so only real names count.
func flagsFirst(c *cli.Context) error {
	for _, arg := range c.Args().Slice() {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !strings.HasPrefix(arg, "-") || name == "" {
			continue
		}
		for _, f := range c.Command.Flags {
			if slices.Contains(f.Names(), name) {
				return fmt.Errorf("%s comes after an argument; flags come first: patina %s %s …", arg, c.Command.Name, arg)
			}
		}
	}
	return nil
}

// statements reads SQL from the arguments or, without any, from standard input,
// and cuts it into statements.
func statements(c *cli.Context) ([]client.Statement, error) {
	scripts := c.Args().Slice()
	if len(scripts) == 0 || len(scripts) == 1 && scripts[0] == "-" {
		b, err := io.ReadAll(c.App.Reader)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		scripts = []string{string(b)}
	}
	list := split(scripts)
	if len(list) == 0 {
		return nil, fmt.Errorf("no SQL given: patina %s 'SQL', or SQL on standard input", c.Command.Name)
	}
	params := c.StringSlice("param")
	if len(params) > 0 && len(list) != 1 {
		return nil, fmt.Errorf("--param needs exactly one statement, there are %d", len(list))
	}
	for _, p := range params {
		list[0].Params = append(list[0].Params, client.ParseParam(p))
	}
	return list, nil
}

func split(scripts []string) []client.Statement {
	var list []client.Statement
	for _, script := range scripts {
		for _, sql := range client.SplitStatements(script) {
			list = append(list, client.Statement{SQL: sql})
		}
	}
	return list
}
