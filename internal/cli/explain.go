package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/adminclient"
	"github.com/keytail/keytail/internal/apikey"
)

// requirementFlags describe a request, without its key.
type requirementFlags struct {
	Scopes         []string `env:"-" placeholder:"SCOPE" help:"Scopes that the key must have, separated by commas."`
	OrgID          *string  `name:"org-id" env:"-" placeholder:"ID" help:"The organisation of the request."`
	ProjectID      *string  `name:"project-id" env:"-" placeholder:"ID" help:"The project of the request."`
	RequireOrg     bool     `env:"-" help:"Refuse a key that is bound to an organisation if the request has none."`
	RequireProject bool     `env:"-" help:"Refuse a key that is bound to a project if the request has none."`
	IP             string   `name:"ip" env:"-" placeholder:"ADDRESS" help:"The address of the client."`
}

// checkIDs refuses an empty id.
func (f *requirementFlags) checkIDs() error {
	return errors.Join(checkNamed("org-id", f.OrgID), checkNamed("project-id", f.ProjectID))
}

type explainCommand struct {
	adminFlags
	ownerFlag
	keyArgument
	requirementFlags
	Quiet bool `short:"q" env:"-" help:"Print the code and nothing else."`
}

func (c *explainCommand) run(ctx context.Context, p process, wrong error) int {
	return c.adminFlags.run(ctx, p, errors.Join(wrong, c.check(), c.checkIDs()), func(ctx context.Context, s *session) error {
		e, err := s.Explain(ctx, c.ID, c.UserID, adminclient.Requirements{
			Scopes: texts(c.Scopes), OrgID: value(c.OrgID), ProjectID: value(c.ProjectID),
			RequireOrg: c.RequireOrg, RequireProject: c.RequireProject, IP: c.IP,
		})
		if err != nil {
			return c.failure(err)
		}
		c.print(s, e)
		if !e.Valid {
			return errNo
		}
		return nil
	})
}

// failure says what to do when there is nothing to explain.
func (c *explainCommand) failure(err error) error {
	var refused *adminclient.Error
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.Code { //nolint:exhaustive // the others need no more words
	case api.CodeNoSuchKey:
		return fmt.Errorf("%w; keytail audit --key-id %s says whether it was deleted by keytail", err, plain(c.ID))
	case api.CodeDatabaseUnavailable:
		return errors.New("the database did not answer, and without it keytail cannot find a key by its id. Until it answers, callers get answers from the cache, at most --max-stale (15s by default) old, and then 503")
	}
	return err
}

func (c *explainCommand) print(s *session, e *adminclient.Explanation) {
	if s.json {
		s.out.object(e.Raw)
		return
	}
	if s.quietly(c.Quiet, e.Code) {
		return
	}
	s.out.line("%s", plain(c.sentence(&e.Explanation)))
	if text := difference(&e.Explanation); text != "" {
		s.out.line("%s", plain(text))
	}
	s.out.record([][2]string{
		{"code", e.Code},
		{"reason", e.Reason},
		{"key id", e.KeyID},
		{"instance", e.Instance},
		{"source", e.Source},
		{"staleness", millisecondsText(e.StalenessMS)},
		{"revision", e.Revision},
		{"in the database", strings.TrimSpace(e.Database.Code + " " + e.Database.Reason)},
	}...)
}

// sentence says what the instance answers, and why.
func (c *explainCommand) sentence(e *api.Explanation) string {
	switch {
	case e.Valid:
		return "the key is valid for this request"
	case e.Code == apikey.Unavailable.String():
		return "the instance cannot validate the key now: it has no data that are fresh enough"
	case e.Reason == "":
		return "the key is refused for this request: " + e.Code
	}
	return "the key is refused for this request: " + c.because(e.Reason)
}

// because is a reason in words. A reason that is newer than this program stays as it
// is.
func (c *explainCommand) because(reason string) string {
	kind, name, named := strings.Cut(reason, ":")
	if named {
		kind += ":"
	}
	switch kind {
	case apikey.ReasonInactive:
		return "it is switched off"
	case apikey.ReasonSharedHash:
		return "another document has the same hash, and keytail cannot know which one is meant"
	case apikey.ReasonUnreadable:
		return "its document cannot be read"
	case apikey.ReasonMissing:
		return "its document has no field " + name
	case apikey.ReasonType:
		return "the field " + name + " of its document does not have the form that the mapping declares: see the defect in keytail keys get " + c.ID
	case apikey.ReasonDuplicate:
		return "its document has the field " + name + " twice"
	case apikey.ReasonExpired:
		return "it has expired"
	case apikey.ReasonOrg:
		return binding("organisation", value(c.OrgID), "--org-id")
	case apikey.ReasonProject:
		return binding("project", value(c.ProjectID), "--project-id")
	case apikey.ReasonIP:
		if c.IP == "" {
			return "it has an allow-list, and the request has no client address (--ip)"
		}
		return "the client's address " + c.IP + " is not in its allow-list"
	case apikey.ReasonScope:
		return "it does not have the scope " + name
	}
	return reason
}

func binding(kind, named, flag string) string {
	if named == "" {
		return "it is bound to one " + kind + ", and the request must name it (" + flag + ")"
	}
	return "it is bound to another " + kind
}

// difference says that the database has another verdict, or none. Empty: it has the same.
func difference(e *api.Explanation) string {
	switch d := &e.Database; {
	case d.Code == e.Code && d.Reason == e.Reason:
		return ""
	case d.Code == apikey.Unavailable.String():
		return "what the database has now is not known: it has no primary with a majority, or does not answer in time"
	}
	text := "the database says " + e.Database.Code
	if e.Database.Reason != "" {
		text += " (" + e.Database.Reason + ")"
	}
	if e.StalenessMS != nil {
		text += fmt.Sprintf(": a change has not reached this instance yet, whose data are %d ms old", *e.StalenessMS)
	}
	return text
}

// millisecondsText is "412 ms", or "" for nil.
func millisecondsText(ms *int64) string {
	if ms == nil {
		return ""
	}
	return fmt.Sprintf("%d ms", *ms)
}
