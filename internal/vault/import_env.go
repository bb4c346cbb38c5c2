// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"fmt"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// readEnv reads a file of NAME=VALUE lines, as systemd (systemd.exec(5),
// "EnvironmentFile") and shells do: a value may be in single or double quotes and then
// go over several lines, and a backslash takes the next character as it is. The
// account is the name; of one that is set twice the last counts.
func readEnv(name string, text []byte, like Entrust) ([]Entrust, error) {
	var list []Entrust
	places := map[string]int{}
	rest, line := string(text), 1
	for rest != "" {
		first, after, _ := strings.Cut(rest, "\n")
		variable, _, isSet := strings.Cut(strings.TrimPrefix(strings.TrimLeft(first, " \t"), "export "), "=")
		variable = strings.TrimSpace(variable)
		if trimmed := strings.TrimSpace(first); trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';' {
			rest, line = after, line+1
			continue
		}
		if !isSet || !isVariable(variable) {
			return nil, fmt.Errorf("%w: line %d is not NAME=VALUE", tallystick.ErrInvalid, line)
		}
		value, lines, behind, ok := envValue(rest[strings.IndexByte(rest, '=')+1:])
		if !ok {
			return nil, fmt.Errorf("%w: a quote of line %d does not end", tallystick.ErrInvalid, line)
		}
		e := like
		e.Account, e.Value, e.Origin = variable, driver.NewSecret(value), fmt.Sprintf("env:%s:%d", name, line)
		if i, twice := places[variable]; twice {
			list[i] = e
		} else {
			places[variable] = len(list)
			list = append(list, e)
		}
		rest, line = behind, line+lines
	}
	return list, nil
}

// isVariable says whether a name is one of an environment variable.
func isVariable(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && r != '.' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// envValue reads a value up to the end of its line. It returns how many lines it took
// and what is behind it; ok is false when a quote does not end.
func envValue(text string) (value string, lines int, behind string, ok bool) {
	var b strings.Builder
	kept := 0 // of b: what is quoted stays, also when it ends with spaces
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\n':
			lines++
			if quote == 0 {
				return envTrim(b.String(), kept), lines, text[i+1:], true
			}
			b.WriteByte(c)
		case quote != 0 && c == quote:
			quote, kept = 0, b.Len()
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case c == '\\' && quote != '\'' && i+1 < len(text):
			i++
			switch next := text[i]; {
			case next == '\n':
				lines++
			case quote == '"' && !strings.ContainsRune("\"\\$`", rune(next)):
				b.WriteByte(c)
				b.WriteByte(next)
			default:
				b.WriteByte(next)
			}
			kept = b.Len()
		case quote == 0 && b.Len() == 0 && (c == ' ' || c == '\t'):
			// before the value
		default:
			b.WriteByte(c)
		}
	}
	return envTrim(b.String(), kept), lines + 1, "", quote == 0
}

// envTrim takes away the spaces at the end, as far as they are not quoted.
func envTrim(value string, kept int) string {
	return value[:kept] + strings.TrimRight(value[kept:], " \t\r")
}
