package client

import (
	"testing"

	"github.com/keytail/keytail/internal/apitest"
)

func TestNoInternalTypeInThePublicAPI(t *testing.T) { apitest.NoInternalTypes(t, ".") }
