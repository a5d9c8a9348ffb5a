package routes

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/rights"
)

// right is which role an operation of the admin listener needs.
type right struct {
	// operation is the operationId of api/openapi.yaml.
	operation    string
	method, path string
	role         rights.Role
	// boundToo: a caller that is bound to an owner may use it, because it is about keys
	// of that owner alone, or says nothing about keys.
	boundToo bool
}

// adminRights is the only place that says who may do what on the admin listener. An
// operation that is not in it is refused.
//
// A viewer uses every method GET, and finds keys by their texts. An operator also
// revokes, and changes the level of the log, but never gets the text of a key, which
// would let it act as the key's owner: that is why rotation needs an admin. A bound
// caller gets neither events, which name the keys of all owners, nor what describes the
// service and its instances.
var adminRights = []right{
	{"getOpenAPI", http.MethodGet, api.PathOpenAPI, rights.Viewer, true},
	{"statusPage", http.MethodGet, "/", rights.Viewer, false},
	{"streamStatusPage", http.MethodGet, pathStatusLive, rights.Viewer, false},
	{"getStatus", http.MethodGet, api.PathStatus, rights.Viewer, false},
	{"getLogLevel", http.MethodGet, api.PathLogLevel, rights.Viewer, false},
	{"setLogLevel", http.MethodPut, api.PathLogLevel, rights.Operator, false},
	{"listInstances", http.MethodGet, api.PathInstances, rights.Viewer, false},
	{"syncRevision", http.MethodGet, api.PathSync, rights.Viewer, true},
	{"streamEvents", http.MethodGet, api.PathEvents, rights.Viewer, false},
	{"listKeys", http.MethodGet, api.PathKeys, rights.Viewer, true},
	{"getKey", http.MethodGet, pathKey, rights.Viewer, true},
	{"explainKey", http.MethodGet, pathExplain, rights.Viewer, true},
	{"listAudit", http.MethodGet, api.PathAudit, rights.Viewer, true},
	{"revokeKey", http.MethodPost, pathRevoke, rights.Operator, true},
	{"revokeLeakedKey", http.MethodPost, api.PathRevokeLeaked, rights.Operator, true},
	{"revokeKeysOfOwner", http.MethodPost, api.PathRevokeKeys, rights.Operator, true},
	{"createKey", http.MethodPost, api.PathKeys, rights.Admin, true},
	{"updateKey", http.MethodPatch, pathKey, rights.Admin, true},
	{"rotateKey", http.MethodPost, pathRotate, rights.Admin, true},
	{"deleteKey", http.MethodDelete, pathKey, rights.Admin, true},
	// The pages about keys need what the API needs for the same.
	{"keysPage", http.MethodGet, pathKeysPage, rights.Viewer, true},
	{"keyPage", http.MethodGet, pathKeyPage, rights.Viewer, true},
	{"findKeyPage", http.MethodGet, pathFindPage, rights.Viewer, true},
	{"submitFindKey", http.MethodPost, pathFindPage, rights.Viewer, true},
	{"revokeKeyPage", http.MethodGet, pathRevokePage, rights.Operator, true},
	{"submitRevokeKey", http.MethodPost, pathRevokePage, rights.Operator, true},
	{"newKeyPage", http.MethodGet, pathNewKeyPage, rights.Admin, true},
	{"submitNewKey", http.MethodPost, pathNewKeyPage, rights.Admin, true},
	{"rotateKeyPage", http.MethodGet, pathRotatePage, rights.Admin, true},
	{"submitRotateKey", http.MethodPost, pathRotatePage, rights.Admin, true},
	// It makes keys, and breaks the database of --dev for everyone.
	{"playgroundPage", http.MethodGet, pathPlayground, rights.Admin, false},
	{"streamPlayground", http.MethodGet, pathPlaygroundLive, rights.Admin, false},
	{"submitPlayground", http.MethodPost, pathPlayground, rights.Admin, false},
}

// rightFor is the right of a request, by the route that matched. Zero: there is none.
func rightFor(method, route string) right {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, r := range adminRights {
		if r.method == method && r.path == route {
			return r
		}
	}
	return right{}
}

// requireRight lets a request pass that the caller's role and owner allow. A path or
// method that does not exist passes: its answer is 404 or 405.
func (a *admin) requireRight(c *gin.Context) {
	route := c.FullPath()
	if route == "" || isOpen(route) {
		return
	}
	who, needed := whoIs(c), rightFor(c.Request.Method, route)
	if problem := checkRight(who, needed); problem != nil {
		a.note(c.Request, managedkey.Refusal{Action: managedkey.RefusedRequest, Actor: who.Name, Cause: needed.operation})
		forwardauth.HideKey(c.Writer.Header(), "") // the body, which is not read, may have the same key
		a.refuse(c, problem)
	}
}

func checkRight(who rights.Identity, needed right) *callerError {
	switch {
	case !who.Role.Includes(needed.role):
		return &callerError{code: api.CodeNotPermitted, detail: "this needs the role " + needed.role.String() + ", and " + who.Name + " has the role " + who.Role.String()}
	case who.Owner != (managedkey.Owner{}) && !needed.boundToo:
		return &callerError{code: api.CodeNotPermitted, detail: "this is not about the keys of one owner, and " + who.Name + " is bound to one"}
	}
	return nil
}
