package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keytail/keytail/internal/adminclient"
)

type keysCreateCommand struct {
	adminFlags
	UserID    string `name:"user-id" env:"-" placeholder:"ID" help:"The user for whom the key acts. Required."`
	OrgID     string `name:"org-id" env:"-" placeholder:"ID" help:"Bind the key to this organisation."`
	ProjectID string `name:"project-id" env:"-" placeholder:"ID" help:"Bind the key to this project."`
	restrictions
	waitFlags
	Quiet bool `short:"q" env:"-" help:"Print only the key."`
}

func (c *keysCreateCommand) run(ctx context.Context, p process, wrong error) int {
	fields, err := c.fields(p)
	wrong = errors.Join(wrong, err, c.waitFlags.check(p))
	if c.UserID == "" {
		wrong = errors.Join(wrong, errors.New("--user-id is missing: the user for whom the key acts"))
	}
	for name, id := range map[string]string{"user_id": c.UserID, "org_id": c.OrgID, "project_id": c.ProjectID} {
		if id != "" {
			fields[name] = id
		}
	}
	return c.adminFlags.run(ctx, p, wrong, func(ctx context.Context, s *session) error {
		return s.printNewKey("created", c.Quiet, func() (*adminclient.WrittenKey, error) { return s.Create(ctx, fields, c.write("")) })
	})
}

// printNewKey prints a new key. A key without a secret is printed, because it
// exists, and is a failure.
func (s *session) printNewKey(done string, quiet bool, do func() (*adminclient.WrittenKey, error)) error {
	began := time.Now()
	written, err := do()
	if written == nil {
		return err
	}
	if err != nil || !s.quietly(quiet, written.Secret) {
		s.printWritten(written)
	}
	s.reportWritten(done, written, began)
	if s.out.failed != nil {
		return fmt.Errorf("the new key is lost: revoke %s, and create another one", plain(written.ID))
	}
	return err
}

type keysRotateCommand struct {
	adminFlags
	ownerFlag
	keyArgument
	Overlap string `env:"-" placeholder:"DURATION" help:"How long both keys are valid, such as 24h or 7d; with 0s, the old key expires immediately. Required."`
	waitFlags
	Quiet bool `short:"q" env:"-" help:"Print only the new key."`
}

func (c *keysRotateCommand) run(ctx context.Context, p process, wrong error) int {
	overlap, err := readOverlap(c.Overlap)
	wrong = errors.Join(wrong, c.keyArgument.check(), err, c.waitFlags.check(p))
	return c.adminFlags.run(ctx, p, wrong, func(ctx context.Context, s *session) error {
		return s.printNewKey("rotated", c.Quiet, func() (*adminclient.WrittenKey, error) { return s.Rotate(ctx, c.ID, overlap, c.write(c.UserID)) })
	})
}

// readOverlap has no default, because any would surprise someone.
func readOverlap(text string) (time.Duration, error) {
	if text == "" {
		return 0, errors.New("--overlap is missing: how long both keys are valid, such as 24h; with 0s, the old key expires immediately")
	}
	left, err := parseDuration(text)
	if err != nil || left < 0 || left%time.Second != 0 {
		return 0, errors.New("--overlap must be a duration in whole seconds, such as 90s, 24h or 7d")
	}
	return left, nil
}

type keysUpdateCommand struct {
	adminFlags
	ownerFlag
	keyArgument
	restrictions
	Clear   []string `env:"-" enum:"name,scopes,allowed_ips,expires_at,metadata" placeholder:"FIELD" help:"Remove fields, separated by commas: name, scopes (the key then has the default scopes), allowed_ips, expires_at, metadata."`
	IfMatch string   `env:"-" placeholder:"ETAG" help:"Only if the key still has this etag, which keys get shows."`
	waitFlags
}

func (c *keysUpdateCommand) run(ctx context.Context, p process, wrong error) int {
	fields, err := c.fields(p)
	wrong = errors.Join(wrong, c.keyArgument.check(), err, c.waitFlags.check(p))
	for _, name := range c.Clear {
		if _, twice := fields[name]; twice {
			wrong = errors.Join(wrong, errors.New("a field is both set and cleared: "+name))
		}
		fields[name] = nil
	}
	if len(fields) == 0 {
		wrong = errors.Join(wrong, errors.New("nothing to change: give --name, --scopes, --allowed-ips, --expires, --metadata or --clear"))
	}
	return c.adminFlags.run(ctx, p, wrong, func(ctx context.Context, s *session) error {
		how := c.write(c.UserID)
		how.IfMatch = c.IfMatch
		return s.changes("updated", func() (*adminclient.WrittenKey, error) { return s.Update(ctx, c.ID, fields, how) })
	})
}

// changes prints a changed key.
func (s *session) changes(done string, do func() (*adminclient.WrittenKey, error)) error {
	began := time.Now()
	written, err := do()
	if err != nil {
		return err
	}
	s.printWritten(written)
	s.reportWritten(done, written, began)
	return nil
}

type keysDeleteCommand struct {
	adminFlags
	ownerFlag
	keyArgument
	waitFlags
}

func (c *keysDeleteCommand) run(ctx context.Context, p process, wrong error) int {
	wrong = errors.Join(wrong, c.keyArgument.check(), c.waitFlags.check(p))
	return c.adminFlags.run(ctx, p, wrong, func(ctx context.Context, s *session) error {
		return s.changes("deleted", func() (*adminclient.WrittenKey, error) { return s.Delete(ctx, c.ID, c.write(c.UserID)) })
	})
}
