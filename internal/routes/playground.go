package routes

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/webui"
)

// The paths of the playground.
const (
	pathPlayground     = "/playground"
	pathPlaygroundLive = pathPlayground + "/live"
)

// playgroundInterval is between two updates of the playground: a person sees an answer
// change when it does.
const playgroundInterval = 250 * time.Millisecond

// Playground is the page on which a person sees what keytail and another cache answer while
// the database fails. It is safe for concurrent use. *playground.Playground is one.
type Playground interface {
	// Write answers with the page in the frame.
	Write(w http.ResponseWriter, frame webui.View) error
	// Parts are the elements of the page that change.
	Parts() ([]webui.Part, error)
	// Do does what a button says; key is that of the button, or empty. The error is a
	// sentence for the person.
	Do(ctx context.Context, action, key string) error
}

// servePlayground serves the playground.
func (a *admin) servePlayground(engine *gin.Engine) {
	readable(engine, pathPlayground, func(c *gin.Context) {
		if err := a.Playground.Write(c.Writer, *a.view(c, "", nil)); err != nil {
			panic(err) // a bug of the template: recovery answers
		}
	})
	engine.POST(pathPlayground, a.play)
	a.serveLive(engine, liveSource{pathPlaygroundLive, playgroundInterval, func(*gin.Context, bool) (string, []webui.Part, error) {
		parts, err := a.Playground.Parts()
		return "Playground", parts, err
	}})
}

// play does what a button of the playground says.
func (a *admin) play(c *gin.Context) {
	form, problem := readForm(c, "action", "key")
	if problem == nil {
		if err := a.Playground.Do(c.Request.Context(), form.Get("action"), form.Get("key")); err != nil {
			problem = &callerError{code: api.CodeBadRequest, detail: err.Error()}
		}
	}
	if problem != nil {
		forwardauth.HideKey(c.Writer.Header(), "") // the form may have a key
		a.refuse(c, problem)
		return
	}
	c.Redirect(http.StatusSeeOther, pathPlayground)
}
