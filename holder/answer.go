// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// maxExpected bounds what is repeated of a server's words, in bytes.
const maxExpected = 200

// The server begins so what it says of a record that is not of the source that it
// was sent to: the source has another name than the book, or is the other side's.
const (
	otherName = "expected a record whose source is"
	otherSide = "expected a record of the relying side"
)

// An answer is what a server says of a delivery that it has read. One that is
// not written so says nothing, and the delivery counts as taken.
type answer struct {
	Malformed []struct {
		Line     int64  `json:"line"`
		Expected string `json:"expected"`
	} `json:"malformed"`
	Count int64 `json:"malformed_count"`
}

func readAnswer(body []byte) (a answer) {
	if json.Unmarshal(body, &a) != nil {
		return answer{}
	}
	return a
}

// refusedWhole says that the source takes no line of a delivery, since it is
// another one than the book says. That is set right at the book or at the server, and until
// then the lines are worth keeping; others that cannot be used now never can.
func (a *answer) refusedWhole(lines []byte) bool {
	if len(a.Malformed) == 0 || a.Count < int64(bytes.Count(lines, []byte("\n"))) {
		return false
	}
	for _, m := range a.Malformed {
		if !strings.HasPrefix(m.Expected, otherName) && !strings.HasPrefix(m.Expected, otherSide) {
			return false
		}
	}
	return true
}

// err says what the server expected instead of the first line that it could not use.
func (a *answer) err() error {
	if len(a.Malformed) == 0 {
		return fmt.Errorf("the server couldn't use %d lines, and does not say why", a.Count)
	}
	first := a.Malformed[0]
	expected := strings.ToValidUTF8(first.Expected[:min(len(first.Expected), maxExpected)], "")
	return fmt.Errorf("the server couldn't use %d lines; of line %d of a delivery it says %q", a.Count, first.Line, expected)
}
