package service

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/mongotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Main(m)) }
