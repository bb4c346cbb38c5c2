// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/policy"
)

// The examples of docs/policy.md are rules that can be used, and its tables have
// everything that rules can speak of.
func TestPolicyDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for i, block := range strings.Split(string(text), "```yaml\n") {
		if i == 0 {
			continue
		}
		yaml, _, _ := strings.Cut(block, "```")
		c, err := config.Parse("policy.md", []byte(yaml))
		if err != nil {
			t.Errorf("example %d: %v", i, err)
			continue
		}
		if _, err := policyOf(c); err != nil {
			t.Errorf("example %d: %v", i, err)
		}
		examples += len(c.Issuing.Policies)
	}
	if examples < 10 {
		t.Errorf("%d examples", examples)
	}
	for _, v := range policy.Variables() {
		if line := fmt.Sprintf("\n| `%s` | %s | %s |\n", v.Name, v.Type, v.About); !strings.Contains(string(text), line) {
			t.Errorf("docs/policy.md lacks %s", line)
		}
	}
	for _, f := range policy.Functions() {
		if line := fmt.Sprintf("\n| `%s` | %s |\n", f.Example, f.About); !strings.Contains(string(text), line) {
			t.Errorf("docs/policy.md lacks %s", line)
		}
	}
	for _, r := range policy.BuiltIn() {
		if !strings.Contains(string(text), "\n| `"+r.Name+"` | ") {
			t.Errorf("docs/policy.md lacks %s", r.Name)
		}
	}
}

// The example of docs/config.md has policies that can be used.
func TestConfigExample(t *testing.T) {
	c, err := config.Load("../../internal/config/testdata/full.yaml", os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policyOf(c); err != nil {
		t.Error(err)
	}
}
