// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/problem"
)

// A policyCase is a line of a file of requests with what is expected of them.
type policyCase struct {
	policyRequest
	Expect string `json:"expect"`
	// By names the rule that is expected to refuse; "" is any.
	By   string `json:"by,omitempty"`
	Note string `json:"note,omitempty"` // for people
}

// A policyResult is a line of "tally policy test --file --json".
type policyResult struct {
	Line     int    `json:"line"`
	Note     string `json:"note,omitempty"`
	Expected string `json:"expected"`
	Outcome  string `json:"outcome"`
	OK       bool   `json:"ok"`
	Why      string `json:"why,omitempty"`
}

// maxCases bounds a file of requests, in bytes.
const maxCases = 64 << 20

// file tries the requests of a file.
func (t *policyTrial) file(path string) error {
	text, err := t.read(path)
	if err != nil {
		return err
	}
	tried, wrong := 0, 0
	for i, line := range bytes.Split(text, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		result, err := t.try(line)
		if err != nil {
			return misuse(fmt.Errorf("%s:%d: %w", path, i+1, err), cmpHint(err))
		}
		result.Line = i + 1
		tried++
		if !result.OK {
			wrong++
		}
		if err := t.show(path, result); err != nil {
			return fmt.Errorf("couldn't write the results: %w", err)
		}
	}
	if tried == 0 {
		return misuse(fmt.Errorf("%s has no requests", path), "write one JSON object a line")
	}
	if !t.json {
		fmt.Fprintf(t.program.out, "%s tried, %d not as expected\n", plural(tried, "request"), wrong)
	}
	if wrong > 0 {
		return &statusError{err: fmt.Errorf("%s of %d not as expected", plural(wrong, "request"), tried), status: problem.ExitFindings,
			hint: "change the rules, or what is expected"}
	}
	return nil
}

// cmpHint keeps the hint that an error has.
func cmpHint(err error) string {
	if hint := problem.Of(err).Hint; hint != "" {
		return hint
	}
	return `run "tally policy test --help" to see the members`
}

func (t *policyTrial) read(path string) ([]byte, error) {
	if path != "-" {
		return readAtMost(path, maxCases)
	}
	text, err := io.ReadAll(io.LimitReader(t.program.in, maxCases+1))
	if err == nil && len(text) > maxCases {
		err = misuse(errors.New("standard input is too long"), "split it")
	}
	return text, err
}

// try reads a line and tries it.
func (t *policyTrial) try(line []byte) (policyResult, error) {
	var c policyCase
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return policyResult{}, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if c.Expect != policyAllow && c.Expect != policyRefuse && c.Expect != policyApprove {
		return policyResult{}, fmt.Errorf("expect is %q, and must be %s, %s or %s", c.Expect, policyAllow, policyRefuse, policyApprove)
	}
	request, err := t.request(c.policyRequest)
	if err != nil {
		return policyResult{}, err
	}
	d := t.rules.Decide(request)
	result := policyResult{Note: c.Note, Expected: c.Expect, Outcome: outcomeOf(d), Why: d.Why()}
	result.OK = result.Outcome == c.Expect && (c.By == "" || refusedBy(d, c.By))
	if c.By != "" {
		result.Expected += " by " + c.By
	}
	return result, nil
}

// refusedBy says whether a rule refused.
func refusedBy(d policy.Decision, rule string) bool {
	for _, v := range d.Verdicts {
		if v.Rule == rule && v.Outcome == policy.Refused {
			return true
		}
	}
	return false
}

// show writes a result; for a person those alone that are not as expected.
func (t *policyTrial) show(path string, r policyResult) error {
	if t.json {
		encoder := json.NewEncoder(escaping{t.program.out})
		encoder.SetEscapeHTML(false)
		return encoder.Encode(r)
	}
	if r.OK {
		return nil
	}
	because := ""
	if r.Why != "" {
		because = " because " + r.Why
	}
	if r.Note != "" {
		because += " [" + r.Note + "]"
	}
	_, err := fmt.Fprintf(t.program.out, "%s:%d: expected %s, got %s%s\n", clean(path), r.Line, clean(r.Expected), r.Outcome, clean(because))
	return err
}
