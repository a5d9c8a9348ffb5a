package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/adminclient"
	"github.com/keytail/keytail/internal/apikey"
)

// keysRevokeCommand has three forms: a key by its id, a key by its text, and all keys
// of an owner.
type keysRevokeCommand struct {
	adminFlags
	ID        *string `arg:"" optional:"" help:"The id of the key (not the key itself)."`
	KeyFile   string  `env:"-" placeholder:"FILE" help:"Instead of an id: the file with the text of the key, such as a leaked one; - is standard input, or a prompt on a terminal. Waits for the fleet."`
	UserID    string  `name:"user-id" env:"-" placeholder:"ID" help:"Without an id: all keys of this user. With an id: only if it is a key of this user."`
	OrgID     string  `name:"org-id" env:"-" placeholder:"ID" help:"Without an id: all keys of this organisation."`
	ProjectID string  `name:"project-id" env:"-" placeholder:"ID" help:"Without an id: all keys of this project."`
	DryRun    bool    `env:"-" help:"For all keys of an owner: print their ids, and revoke none."`
	Yes       bool    `env:"-" help:"For all keys of an owner: do not ask. Required unless standard input is a terminal."`
	waitFlags
}

func (c *keysRevokeCommand) run(ctx context.Context, p process, wrong error) int {
	if !p.given["wait"] && c.ID == nil {
		c.Wait = api.ScopeFleet
	}
	wrong = errors.Join(wrong, c.check(p), c.waitFlags.check(p))
	var key string
	if wrong == nil && c.KeyFile != "" {
		if key, wrong = readKey(ctx, p, c.KeyFile, keyPrompt); stopped(ctx, wrong) {
			return fail(p.stderr, exitFailure, errors.New("interrupted"))
		}
		if wrong == nil && key == "" {
			wrong = errors.New("--key-file: there is no key in the input")
		}
	}
	return c.adminFlags.run(ctx, p, wrong, func(ctx context.Context, s *session) error {
		switch {
		case c.KeyFile != "":
			return c.leaked(ctx, s, key)
		case c.ID == nil:
			return c.owner(ctx, s)
		}
		return s.changes("revoked", func() (*adminclient.WrittenKey, error) { return s.Revoke(ctx, *c.ID, c.write(c.UserID)) })
	})
}

// check requires exactly one form. A flag that is given empty, as by a variable of a
// script that is not set, must never select more keys.
func (c *keysRevokeCommand) check(p process) error {
	var wrong error
	for _, flag := range [][2]string{{"key-file", c.KeyFile}, {"user-id", c.UserID}, {"org-id", c.OrgID}, {"project-id", c.ProjectID}} {
		if p.given[flag[0]] && flag[1] == "" {
			wrong = errors.Join(wrong, fmt.Errorf("--%s is empty", flag[0]))
		}
	}
	inOrg, hasOwner := c.OrgID+c.ProjectID != "", c.UserID+c.OrgID+c.ProjectID != ""
	switch {
	case wrong != nil:
		return wrong
	case c.ID != nil:
		if c.KeyFile != "" || inOrg || c.DryRun || c.Yes {
			wrong = errors.New("a key by its id takes neither --key-file, --org-id, --project-id, --dry-run nor --yes")
		}
		if apikey.IsGenerated(*c.ID) {
			return errors.New("this is a key and not an id. Other users may have seen it on the command line: revoke it with --key-file -")
		}
		return errors.Join(wrong, (&keyArgument{*c.ID}).check())
	case c.KeyFile != "":
		if hasOwner || c.DryRun || c.Yes {
			return errors.New("--key-file takes neither --user-id, --org-id, --project-id, --dry-run nor --yes")
		}
		return nil
	case !hasOwner:
		return errors.New("which key? Give an id, --key-file for the text of a key, or --user-id, --org-id or --project-id for all keys of an owner")
	case !c.DryRun && !c.Yes && !isTTY(p.stdin()):
		return errors.New("--yes is missing: it confirms that all keys of " + c.ownerText() + " are to be revoked; --dry-run prints their ids")
	}
	return nil
}

// ownerText is "user u1 and organisation o1".
func (c *keysRevokeCommand) ownerText() string {
	var words []string
	for _, owner := range [][2]string{{"user", c.UserID}, {"organisation", c.OrgID}, {"project", c.ProjectID}} {
		if owner[1] != "" {
			words = append(words, owner[0]+" "+plain(owner[1]))
		}
	}
	return strings.Join(words, " and ")
}

// leaked revokes the key with this text.
func (c *keysRevokeCommand) leaked(ctx context.Context, s *session, key string) error {
	began := time.Now()
	revoked, err := s.RevokeLeaked(ctx, key, c.write(""))
	var refused *adminclient.Error
	if errors.As(err, &refused) && refused.Code == api.CodeNoSuchKey {
		return errors.New("no key of this collection has this text")
	}
	if err != nil && refused == nil {
		return fmt.Errorf("the key may still be valid: %w. Repeat the command, also with the --admin-url of another instance", err)
	}
	if err != nil {
		return err
	}
	if s.json {
		s.out.object(revoked.Raw)
	}
	ids := make([]string, len(revoked.Keys))
	for i := range revoked.Keys {
		if ids[i] = revoked.Keys[i].ID; !s.json {
			s.out.record(append(keyFields(&revoked.Keys[i]), [2]string{"revision", value(revoked.Revision)})...)
		}
	}
	done := "revoked " + strings.Join(ids, ", ")
	if revoked.Revoked == 0 {
		done = strings.Join(ids, ", ") + " was revoked already"
	}
	return s.reportRefused(done, revoked.SyncResult, revoked.Revision, time.Since(began))
}

// notRefusedYet says what an instance that has not confirmed can still do.
const notRefusedYet = "an instance that does not confirm is stopped, or cut off: it answers from its cache until its data are --max-stale old (15s by default), and then from the database or not at all"

// reportRefused reports how many instances refuse the revoked keys. Unless all of
// them do, it returns errNo.
func (s *session) reportRefused(done string, r *api.SyncResult, revision *string, d time.Duration) error {
	again := "To wait again: keytail sync " + value(revision)
	switch {
	case r == nil || len(r.Instances) == 0:
		s.note("%s; no instance confirmed it within %s. %s", done, took(d), again)
		return errNo
	case !r.Synced:
		s.note("%s; refused on %s within %s, not yet on %s. %s", done, syncedCount(r), took(d), strings.Join(r.Missing, ", "), again)
		s.note("%s", notRefusedYet)
		return errNo
	}
	s.note("%s; refused on %s in %s", done, syncedCount(r), took(d))
	return nil
}
