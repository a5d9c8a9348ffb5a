package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/seed"
)

// printGreeting prints commands for a first try. Each works when it is pasted.
func (d *serveRun) printGreeting(p parts) error {
	w := greeting{
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

// greeting has the values in the text of --dev.
type greeting struct {
	mongoDB, public, operations string
	// admin is the line of the admin listener, or empty if it is disabled.
	admin                  string
	database, collection   string
	valid, expired, scoped seed.Example
}

func (w greeting) print(out io.Writer) error {
	_, err := fmt.Fprintf(out, `
keytail is ready, with an in-memory MongoDB and 200 sample keys (testdata/README.md). Nothing is stored.

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

Revoke the valid key with any MongoDB client, then validate it again:
%s

Ctrl-C stops.
`, w.mongoDB, w.public, w.operations, w.admin,
		w.curl(w.valid, ""), w.curl(w.expired, ""), w.curl(w.scoped, `,"scopes":["orders:write"]`), w.revoke())
	return err
}

// curl validates a key. more is JSON after the key.
func (w greeting) curl(example seed.Example, more string) string {
	return fmt.Sprintf(`curl -s -w '\n' %s/v1/keys/verify -H 'Content-Type: application/json' -d '{"key":"%s"%s}'`, w.public, example.Key, more)
}

// revoke is a mongosh command.
func (w greeting) revoke() string {
	return fmt.Sprintf(`mongosh '%s' --quiet --eval 'db.getSiblingDB(%s).getCollection(%s).updateOne({_id: ObjectId("%s")}, {$set: {is_active: false}})'`,
		w.mongoDB, quoteJS(w.database), quoteJS(w.collection), w.valid.ID)
}

// quoteJS writes a name, which may contain any character, as a JavaScript string
// inside the shell's single quotes.
func quoteJS(name string) string { return strings.ReplaceAll(strconv.Quote(name), "'", `\x27`) }
