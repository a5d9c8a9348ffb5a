package routes

import (
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/tidwall/gjson"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/keytail/keytail/api"
)

// logLevels are the levels that a log can have, as --log-level has them.
var logLevels = map[string]zapcore.Level{"debug": zap.DebugLevel, "info": zap.InfoLevel, "warn": zap.WarnLevel, "error": zap.ErrorLevel}

// logLevel responds with the level of the log.
func (a *admin) logLevel(c *gin.Context) {
	writeJSON(c, http.StatusOK, &api.LogLevel{Level: a.LogLevel.String()})
}

// setLogLevel changes the level of the log. It logs who did that, at a level that is
// seen unless only errors were and are.
func (a *admin) setLogLevel(c *gin.Context) {
	level, problem := readLogLevel(c)
	if problem != nil {
		writeProblem(c, problem.code, problem.detail)
		return
	}
	before := a.LogLevel.Level()
	a.LogLevel.SetLevel(min(before, level))
	a.Logger.Warn("the log level has been changed, until it is changed again or the process ends",
		zap.String("actor", callerOf(c).Actor), zap.Stringer("from", before), zap.Stringer("to", level))
	a.LogLevel.SetLevel(level)
	a.logLevel(c)
}

func readLogLevel(c *gin.Context) (level zapcore.Level, problem *callerError) {
	if c.Request.URL.RawQuery != "" {
		return level, badRequest("this path takes no query: put the level into the body")
	}
	body, problem := readJSON(c, maxBody, "the body may have at most 16 KiB")
	if problem != nil {
		return level, problem
	}
	var text string
	problem = walkObject(body, func(name string, value gjson.Result) (problem *callerError) {
		if name != "level" {
			return badRequest("the body may have only the field level")
		}
		text, problem = readString(name, value)
		return problem
	})
	if problem != nil {
		return level, problem
	}
	level, known := logLevels[text]
	if !known {
		return level, badRequest("level must be debug, info, warn or error")
	}
	return level, nil
}
