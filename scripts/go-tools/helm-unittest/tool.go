//go:build tools

// Package tool names the program, so that its dependencies are kept in go.mod.
package tool

import _ "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"
