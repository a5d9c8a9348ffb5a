package propose

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
)

// Config is what to look at. Keys is required.
type Config struct {
	// Keys is the collection.
	Keys *mongo.Collection
	// Key is the text of a known key. Empty: none is known.
	Key string
	// HashSecret is the secret of HMAC-SHA256, which is tried for the known key,
	// and HashSecretFile the file it is from. Empty: HMAC is not tried.
	HashSecret     []byte
	HashSecretFile string
	// Expect is the verdict that the known key should get. Zero: Valid.
	Expect apikey.Code
	// KeyPrefix is the prefix of keys that keytail makes. Empty: its default.
	KeyPrefix string
	// Now is the time of the verdict. Zero: the current time.
	Now time.Time
}

func (cfg Config) secretFor(algorithm apikey.HashAlgorithm) []byte {
	if algorithm == apikey.HMACSHA256 {
		return cfg.HashSecret
	}
	return nil
}

// Run reads documents and indexes of the collection and proposes a mapping. The
// error is that of a read. ctx bounds all of it.
func Run(ctx context.Context, cfg Config) (*Proposal, error) {
	cfg.setDefaults()
	x, err := readIndexes(ctx, cfg.Keys)
	if err != nil {
		return nil, cfg.explain("listing the indexes", err)
	}
	search := &keySearch{keys: cfg.Keys}
	if cfg.Key != "" {
		search.attempts = attemptsFor(cfg.Key, cfg.HashSecret)
		search.quoted = strings.ContainsAny(cfg.Key[:1], "\"'`") && strings.HasSuffix(cfg.Key, cfg.Key[:1])
	}
	s, err := read(ctx, cfg.Now, cfg.Keys, search.see)
	if err != nil {
		return nil, cfg.explain("reading documents", err)
	}
	if cfg.Key != "" && search.found == nil && len(s.documents) > 0 {
		if err := search.search(ctx, s, &x); err != nil {
			return nil, cfg.explain("searching for the key", err)
		}
	}
	g := &guesser{sample: s, indexes: x, found: search.usable(), keyGiven: cfg.Key != ""}
	g.proposal = Proposal{
		Database: cfg.Keys.Database().Name(), Collection: cfg.Keys.Name(),
		Documents: len(s.documents), Total: s.total, Basis: s.basis(),
	}
	if len(s.documents) == 0 {
		return &g.proposal, nil
	}
	g.guess()
	p := &g.proposal
	if s.unnamed > 0 {
		g.warn("%s have fields that were not looked at, because their names look like data or there are more than %d", documents(s.unnamed), maxFields)
	}
	if len(cfg.HashSecret) > 0 && cfg.Key == "" {
		g.warn("whether the secret of --map-hash-secret-file was used cannot be seen without a known key (--key-file)")
	}
	if g.found != nil && g.found.algorithm == apikey.HMACSHA256 {
		hash := p.role("map_hash")
		hash.Forms = append(hash.Forms, Setting{"map_hash_algorithm", string(apikey.HMACSHA256)}, Setting{"map_hash_secret_file", cfg.HashSecretFile})
	}
	if cfg.Key != "" {
		p.Known = search.verdict(cfg, s, p.Schema())
	}
	return p, nil
}

// explain names the missing privilege, if that is the reason.
func (cfg *Config) explain(doing string, err error) error {
	if keystore.NotAllowed(err) {
		return fmt.Errorf("%s is not allowed: grant the user of the connection string find and listIndexes on collection %q of database %q: %w", doing, cfg.Keys.Name(), cfg.Keys.Database().Name(), err)
	}
	return keystore.Explain(cfg.Keys.Database().Name(), doing+" of "+cfg.Keys.Name(), err)
}

func (cfg *Config) setDefaults() {
	if cfg.Expect == 0 {
		cfg.Expect = apikey.Valid
	}
	if cfg.KeyPrefix == "" {
		cfg.KeyPrefix = apikey.DefaultPrefix
	}
	if cfg.Now.IsZero() {
		cfg.Now = time.Now()
	}
}

// basis says which documents were read.
func (s *sample) basis() string {
	size := s.size()
	text := fmt.Sprintf("all %d documents", size.sum())
	if int64(size.sum()) < s.total {
		text = fmt.Sprintf("%d of about %d documents, the %d oldest and the %d newest by _id", size.sum(), s.total, size.older, size.newer)
	}
	if size.sum() == 1 {
		text = "1 document, so that every guess is weak"
	}
	if s.cut {
		text += " (no more, because they are large)"
	}
	return text
}

// Summary is one line for each role: its name, the field, and what was seen.
func (p *Proposal) Summary() [][3]string {
	var rows [][3]string
	for i := range p.Roles {
		r := &p.Roles[i]
		field := r.Field
		if field == "" {
			field = string(r.Status)
		}
		forms := make([]string, 0, len(r.Forms))
		for _, form := range r.Forms {
			if form.Key != "map_hash_secret_file" { // a path would make the table wide
				forms = append(forms, form.Value)
			}
		}
		rows = append(rows, [3]string{r.Name, strings.TrimSpace(field + " " + strings.Join(forms, " ")), shortened(strings.Join(r.Seen[:min(1, len(r.Seen))], ""))})
	}
	return rows
}

// shortened cuts a sentence for a table. The file has all of it.
func shortened(text string) string {
	const width = 80
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	return string(runes[:width-1]) + "…"
}
