// An Extism plugin for tests: `resolve` gives the configured secret, `probe` does what its input says.
package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	pdk "github.com/extism/go-pdk"
)

var (
	configured map[string]string
	remembered string
	times      int
	calls      int
)

func init() { told("initialised") }

// told tells of the life of an instance, without the host's functions: they are not there before it is initialised.
func told(what string) { fmt.Fprintln(os.Stderr, "life: "+what) }

//go:wasmexport plugin_configure
func pluginConfigure() int32 {
	given := map[string]string{}
	if err := pdk.InputJSON(&given); err != nil {
		pdk.SetError(errors.New("no JSON object of texts"))
		return 1
	}
	if refuse := given["refuse"]; refuse != "" {
		pdk.SetErrorString(refuse)
		return 2
	}
	if given["base_url"] == "nonsense" {
		pdk.SetErrorString("base_url is no URL")
		return 1
	}
	if given["trap"] != "" {
		panic("trapped with " + given["trap"])
	}
	if given["status"] != "" {
		return 7
	}
	configured = given
	times++
	told("configured as " + given["who"])
	return 0
}

type answer struct {
	Reference int             `json:"reference"`
	Value     *string         `json:"value,omitempty"`
	Base64    *string         `json:"value_base64,omitempty"`
	Error     map[string]any  `json:"error,omitempty"`
	Version   string          `json:"version,omitempty"`
	TTL       float64         `json:"ttl,omitempty"`
	Lease     json.RawMessage `json:"lease,omitempty"`
}

//go:wasmexport resolve
func resolve() int32 {
	var asked struct {
		References []struct {
			Path     string            `json:"path"`
			Metadata map[string]string `json:"metadata"`
		} `json:"references"`
	}
	if err := pdk.InputJSON(&asked); err != nil {
		pdk.SetErrorString("no batch")
		return 1
	}
	text := func(s string) *string { return &s }
	answers := []answer{}
	for i, r := range asked.References {
		a := answer{Reference: i}
		verb, rest, _ := strings.Cut(r.Path, ":")
		if known := configured["known"]; known != "" {
			table := map[string]string{}
			_ = json.Unmarshal([]byte(known), &table)
			verb = "known"
			if value, ok := table[r.Path]; ok {
				a.Value = text(value)
			} else {
				a.Error = map[string]any{"kind": "not_found", "message": "there is no " + r.Path}
			}
		}
		switch verb {
		case "known":
		case "secret":
			a.Value = text(configured["secret"])
		case "echo":
			a.Value = text(rest)
		case "metadata":
			b, _ := json.Marshal(r.Metadata)
			a.Value = text(string(b))
		case "binary":
			a.Base64 = text(base64.StdEncoding.EncodeToString([]byte{0, 1, 255}))
		case "bad64":
			a.Base64 = text("!")
		case "facts":
			a.Value, a.Version, a.TTL = text("v"), "7", 1.5
			a.Lease = json.RawMessage(`{"id":"l1","duration":60,"renewable":true}`)
		case "error":
			kind, message, _ := strings.Cut(rest, "=")
			a.Error = map[string]any{"kind": kind, "message": message, "retry_after": 2.5}
		case "both":
			a.Value, a.Error = text("v"), map[string]any{"kind": "denied"}
		case "none":
			continue
		case "twice":
			a.Value = text("v")
			answers = append(answers, a)
		case "fail":
			pdk.SetErrorString(rest)
			return 1
		case "nonsense":
			pdk.OutputString("nonsense")
			return 0
		case "big":
			n, _ := strconv.Atoi(rest)
			a.Value = text(strings.Repeat("x", n))
		default:
			return probed(r.Path)
		}
		answers = append(answers, a)
	}
	_ = pdk.OutputJSON(map[string]any{"answers": answers})
	return 0
}

//go:wasmexport probe
func probe() int32 { return probed(pdk.InputString()) }

//go:wasmexport list_markets
func listMarkets() int32 {
	told("list_markets as " + configured["who"])
	pdk.OutputString(configured["who"])
	return 0
}

//go:wasmexport get_ohlcv
func getOHLCV() int32 {
	told("get_ohlcv as " + configured["who"])
	pdk.OutputString(configured["who"] + remembered)
	return 0
}

func probed(input string) int32 {
	calls++
	verb, arg, _ := strings.Cut(input, ":")
	n, _ := strconv.Atoi(arg)
	switch verb {
	case "echo":
		pdk.OutputString(arg)
	case "state":
		old := string(pdk.GetVar("v"))
		pdk.SetVar("v", []byte("kept"))
		b, _ := json.Marshal(map[string]any{"times": times, "calls": calls, "secret": configured["secret"], "var": old})
		pdk.Output(b)
	case "config":
		value, ok := pdk.GetConfig(arg)
		pdk.OutputString(fmt.Sprintf("%q %v", value, ok))
	case "vars":
		pdk.SetVar("a", make([]byte, n))
		pdk.OutputString(strconv.Itoa(len(pdk.GetVar("a"))))
	case "get":
		request := pdk.NewHTTPRequest(pdk.MethodGet, arg)
		request.SetHeader("X-Vault-Token", "hvs.secret")
		response := request.Send()
		pdk.OutputString(fmt.Sprintf("%d %s %s", response.Status(), response.Headers()["x-a"], response.Body()))
	case "post":
		request := pdk.NewHTTPRequest(pdk.MethodPost, arg)
		request.SetBody([]byte(configured["body"]))
		request.SetHeader("Content-Type", "application/x-amz-json-1.1")
		request.SetHeader("X-Amz-Target", configured["target"])
		response := request.Send()
		pdk.OutputString(fmt.Sprintf("%d %s", response.Status(), response.Body()))
	case "remember":
		remembered = arg
	case "recall":
		pdk.OutputString(remembered)
	case "loop":
		for {
			calls++
		}
	case "sleep":
		time.Sleep(time.Duration(n) * time.Millisecond)
		pdk.OutputString("slept")
	case "grow":
		b := make([]byte, n<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		pdk.OutputString(strconv.Itoa(len(b)))
	case "big":
		pdk.OutputString(strings.Repeat("x", n))
	case "panic":
		panic("probe panicked")
	case "exit":
		os.Exit(n)
	case "fail":
		pdk.SetErrorString(arg)
		return 3
	case "files":
		_, err := os.ReadFile("/etc/passwd")
		pdk.OutputString(fmt.Sprintf("%v %d", err != nil, len(os.Environ())))
	case "pieces":
		for _, b := range []byte(arg) {
			_, _ = os.Stderr.Write([]byte{b})
		}
	case "log":
		pdk.Log(pdk.LogInfo, "logged "+arg)
		fmt.Fprintln(os.Stderr, "printed "+arg)
	}
	return 0
}

func main() {}
