package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/propose"
)

// propose prints the file for --config on standard output, and what a person should
// read on standard error.
func (c *doctorCommand) propose(ctx context.Context, p process, wrong error) int {
	cfg := propose.Config{KeyPrefix: c.KeyPrefix, HashSecretFile: c.Map.HashSecretFile}
	var secret, code error
	cfg.HashSecret, secret = hashSecret(&c.Config)
	cfg.Expect, code = codeNamed(cmp.Or(c.Expect, apikey.Valid.String()))
	if err := errors.Join(wrong, c.Check(), c.checkProposal(), secret, code); err != nil {
		return usage(p.stderr, err)
	}
	uri, err := databaseURI(&c.Config)
	if err != nil {
		return usage(p.stderr, err)
	}
	if cfg.Key, err = c.knownKey(ctx, p); err != nil {
		if stopped(ctx, err) {
			return fail(p.stderr, exitFailure, errors.New("interrupted"))
		}
		return usage(p.stderr, err)
	}
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	to, err := connect(ctx, uri, c.ReadPreference, nil, zap.NewNop())
	if err != nil {
		return fail(p.stderr, exitFailure, err)
	}
	defer disconnect(to.client, zap.NewNop())
	for _, note := range to.Notes {
		p.note("warning: %s", note)
	}
	db := mongoclient.Database(to.client, c.Database)
	name, err := c.chooseCollection(ctx, p, db)
	if err != nil {
		return fail(p.stderr, exitFailure, to.Explain(err))
	}
	p.noteIgnored()
	cfg.Keys = db.Collection(name)
	found, err := propose.Run(ctx, cfg)
	if err != nil {
		return fail(p.stderr, exitFailure, to.Explain(err))
	}
	return c.present(p, found)
}

// checkProposal checks what --propose needs beyond the settings of serve.
func (c *doctorCommand) checkProposal() error {
	var mistakes []error
	if c.Dev {
		mistakes = append(mistakes, errDevDoctor)
	} else if c.MongoDBURI != "" {
		mistakes = append(mistakes, checkURI(c.MongoDBURI))
	}
	if c.Output == outputJSON {
		mistakes = append(mistakes, errors.New("--propose prints YAML, not JSON: leave out --output"))
	}
	return errors.Join(mistakes...)
}

// knownKey reads the known key, if there is one: a person may have none.
func (c *doctorCommand) knownKey(ctx context.Context, p process) (string, error) {
	if c.KeyFile == "" && !isTTY(p.stdin()) {
		return "", c.checkExpect("")
	}
	key, err := readKey(ctx, p, c.KeyFile, "one known key of the collection (Enter: none): ")
	if err != nil || key == "" && c.KeyFile == "" {
		return "", errors.Join(err, c.checkExpect(key))
	}
	if _, err := apikey.Parse("", key); err != nil {
		return "", fmt.Errorf("the known key: %w", err)
	}
	return key, nil
}

func (c *doctorCommand) checkExpect(key string) error {
	if c.Expect != "" && key == "" {
		return errors.New("--expect is the verdict of a known key: give one with --key-file")
	}
	return nil
}

// noteIgnored says which settings have no effect here.
func (p process) noteIgnored() {
	var ignored []string
	for _, name := range p.given.Names() {
		if strings.HasPrefix(name, "map-") && name != "map-hash-secret-file" {
			ignored = append(ignored, "--"+name)
		}
	}
	if ignored != nil {
		p.note("--propose looks at the documents and makes no use of %s", strings.Join(ignored, ", "))
	}
}

// chooseCollection returns the collection that was named, or the only one that
// looks like a collection of keys.
func (c *doctorCommand) chooseCollection(ctx context.Context, p process, db *mongo.Database) (string, error) {
	found, err := propose.Collections(ctx, db)
	if err != nil {
		return "", err
	}
	switch {
	case found.Exists(c.Collection):
		return c.Collection, nil
	case found.IsView(c.Collection):
		return "", fmt.Errorf("%s is a view, which has no change stream: name the collection that it is made from", c.Collection)
	}
	if len(found.Likely) == 1 && !p.given["collection"] {
		p.note("no --collection was given: this is %s, the only one of %s with such a name", found.Likely[0].Name, db.Name())
		return found.Likely[0].Name, nil
	}
	return "", fmt.Errorf("the database %s has no collection %s: name the one with the keys by --collection%s", db.Name(), c.Collection, plain(found.Describe()))
}

// present prints the proposal and returns the exit code.
func (c *doctorCommand) present(p process, found *propose.Proposal) int {
	if found.Documents == 0 {
		return fail(p.stderr, exitFailure, fmt.Errorf("%s.%s is empty, so there is nothing to propose: insert keys first, or let keytail create them (docs/cli.md)", found.Database, found.Collection))
	}
	if _, err := io.WriteString(p.stdout, found.YAML()); err != nil {
		return fail(p.stderr, exitFailure, fmt.Errorf("writing the output: %w", err))
	}
	notes := &screen{Writer: p.stderr}
	var rows [][]string
	for _, row := range found.Summary() {
		rows = append(rows, row[:])
	}
	notes.line("")
	notes.table([]string{"ROLE", "FIELD", "SEEN"}, rows)
	for _, warning := range found.Warnings {
		notes.line("warning: %s", warning)
	}
	if found.Known != nil {
		for _, line := range found.Known.Lines {
			notes.line("key: %s", line)
		}
	}
	if !found.OK() {
		notes.line("The proposal is not complete: see the lines with TO DO, and what is said above.")
		return exitFailure
	}
	notes.line("Read the file, save it as keytail.yaml, and continue with:")
	notes.line("  keytail doctor --config keytail.yaml")
	notes.line("  keytail serve --config keytail.yaml")
	return exitOK
}

// codeNamed returns the code with this name on the wire.
func codeNamed(name string) (apikey.Code, error) {
	var names []string
	for code := range apikey.Code(apikey.CodeCount) {
		if code.String() == strings.ToUpper(name) {
			return code, nil
		}
		names = append(names, code.String())
	}
	return 0, fmt.Errorf("--expect must be one of %s", strings.Join(names, ", "))
}
