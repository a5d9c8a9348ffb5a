package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/seed"
)

// welcome prints what a newcomer needs. Each line works when pasted.
func (d *serveRun) welcome(p parts) error {
	w := welcome{
		mongoDB: p.dev.URI(), public: p.listeners.url(config.Public), operations: p.listeners.url(config.Operations),
		database: d.cfg.Database, collection: d.cfg.Collection,
	}
	if admin := p.listeners.url(config.Admin); admin != "" {
		w.admin = fmt.Sprintf("  admin       %s  (a status page; the password is an admin token)\n", admin)
	}
	for name, example := range map[string]*seed.Example{seed.Valid: &w.valid, seed.Expired: &w.expired, seed.Scoped: &w.scoped} {
		found, err := seed.Find(name)
		if err != nil {
			return err
		}
		*example = found
	}
	return w.print(d.stdout)
}

// welcome is what the text of --dev depends on.
type welcome struct {
	mongoDB, public, operations string
	// admin is the line of the admin listener, empty when it is off.
	admin                  string
	database, collection   string
	valid, expired, scoped seed.Example
}

func (w welcome) print(out io.Writer) error {
	_, err := fmt.Fprintf(out, `
keytail is ready, with an in-memory MongoDB and 200 sample keys (testdata/README.md). Nothing is kept.

  MongoDB     %s
  public      %s  (POST /v1/keys/verify, /v1/auth, /livez)
  operations  %s  (/livez, /readyz, /metrics)
%s
A valid key:
%s

An expired key:
%s

A key refused for its scope:
%s

Revoke the valid key with any MongoDB client, then ask again:
%s

Ctrl-C stops.
`, w.mongoDB, w.public, w.operations, w.admin,
		w.curl(w.valid, ""), w.curl(w.expired, ""), w.curl(w.scoped, `,"scopes":["orders:write"]`), w.revoke())
	return err
}

// curl asks for a verdict. more is JSON after the key.
func (w welcome) curl(example seed.Example, more string) string {
	return fmt.Sprintf(`curl -s -w '\n' %s/v1/keys/verify -H 'Content-Type: application/json' -d '{"key":"%s"%s}'`, w.public, example.Key, more)
}

// revoke is the mongosh line.
func (w welcome) revoke() string {
	return fmt.Sprintf(`mongosh '%s' --quiet --eval 'db.getSiblingDB(%s).getCollection(%s).updateOne({_id: ObjectId("%s")}, {$set: {is_active: false}})'`,
		w.mongoDB, quoteJS(w.database), quoteJS(w.collection), w.valid.ID)
}

// quoteJS writes a name, which may have any character, as a JavaScript string
// that may stand between the shell's single quotes.
func quoteJS(name string) string { return strings.ReplaceAll(strconv.Quote(name), "'", `\x27`) }
