package routes

import (
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/managedkey"
)

// paramIP is the address of the client that an explained request comes from.
const paramIP = "ip"

// explainParams are the parameters of explain: those of forward-auth, and three more.
const explainParams = "scope (repeated), org_id, project_id, require_org, require_project, ip and user_id"

// explainKey says what this instance would answer to a request with a key, and why.
func (a *admin) explainKey(c *gin.Context) {
	id, problem := readPathID(c)
	var request apikey.Request
	by := callerOf(c)
	if problem == nil {
		by.Owner, request, problem = readExplainQuery(c.Request.URL.RawQuery)
	}
	if problem != nil {
		writeProblem(c, problem.code, problem.detail)
		return
	}
	explanation, err := a.Keys.Explain(c.Request.Context(), by, id, &request)
	if err != nil {
		a.writeKeyError(c, err)
		return
	}
	body := explanationOf(&explanation)
	body.Instance = a.Instance
	writeJSON(c, http.StatusOK, &body)
}

// readExplainQuery reads the query completely, or fails: an ignored requirement would
// explain another request.
func readExplainQuery(raw string) (owner string, request apikey.Request, problem *callerError) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return "", request, badRequest("the query cannot be read")
	}
	return parseExplainQuery(query)
}

func parseExplainQuery(query url.Values) (owner string, request apikey.Request, problem *callerError) {
	requirements := url.Values{}
	for name, values := range query {
		switch {
		case name == paramIP || name == paramOwner:
			if len(values) != 1 {
				return "", request, badRequest(name + " must not be repeated")
			}
		case forwardauth.IsRequirement(name):
			requirements[name] = values
		default:
			return "", request, badRequest("the query may have only " + explainParams)
		}
	}
	request, mistake := forwardauth.ParseRequirements(requirements)
	problem = toCallerError(mistake)
	if problem == nil && query.Has(paramIP) {
		request.IP, problem = parseIP(query.Get(paramIP))
	}
	if owner = query.Get(paramOwner); problem == nil && query.Has(paramOwner) {
		problem = checkID(paramOwner, owner)
	}
	return owner, request, problem
}

func explanationOf(e *managedkey.Explanation) api.Explanation {
	instance, database := verdictOf(&e.Instance), verdictOf(&e.Database)
	return api.Explanation{
		KeyID: e.KeyID, Valid: instance.Valid, Code: instance.Code, Reason: e.Instance.Reason.String(),
		Source: instance.Source, AsOf: instance.AsOf, StalenessMS: instance.StalenessMS, Revision: instance.Revision,
		Database: api.StoredVerdict{
			Valid: database.Valid, Code: database.Code, Reason: e.Database.Reason.String(), AsOf: database.AsOf,
		},
	}
}
