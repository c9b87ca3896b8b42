package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

func migrateCommand() *cli.Command {
	return &cli.Command{
		Name:      "migrate",
		Usage:     "change the schema",
		ArgsUsage: "[FILE.sql | SQL …]",
		Description: "Applies the CREATE TABLE and CREATE INDEX statements of all files and arguments, or of\n" +
			"standard input, all or nothing. An argument that ends in .sql, or that names a file, is one.",
		Flags:  []cli.Flag{apiFlag(), jsonFlag("print the node's answer")},
		Action: runMigrate,
	}
}

func runMigrate(c *cli.Context) error {
	node, err := connect(c)
	if err != nil {
		return err
	}
	defer node.Close()
	scripts, err := migrationScripts(c)
	if err != nil {
		return err
	}
	list := split(scripts)
	if len(list) == 0 {
		return errors.New("no SQL given: patina migrate FILE.sql, or SQL as argument or on standard input")
	}
	answer, err := node.Migrate(c.Context, list)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printAnswer(c, &answer)
	}
	_, err = fmt.Fprintf(c.App.Writer, "statements applied: %d\n", len(answer.Results))
	return err
}

func migrationScripts(c *cli.Context) ([]string, error) {
	args := c.Args().Slice()
	if len(args) == 0 {
		args = []string{"-"}
	}
	scripts := make([]string, len(args))
	for i, arg := range args {
		var err error
		if scripts[i], err = migrationScript(c, arg); err != nil {
			return nil, err
		}
	}
	return scripts, nil
}

func migrationScript(c *cli.Context, arg string) (string, error) {
	if arg == "-" {
		b, err := io.ReadAll(c.App.Reader)
		if err != nil {
			return "", fmt.Errorf("read standard input: %w", err)
		}
		return string(b), nil
	}
	if !strings.HasSuffix(arg, ".sql") && !isFile(arg) {
		return arg, nil
	}
	b, err := os.ReadFile(arg)
	if err != nil {
		return "", fmt.Errorf("read migration: %w", err)
	}
	return string(b), nil
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode()&fs.ModeType == 0
}
