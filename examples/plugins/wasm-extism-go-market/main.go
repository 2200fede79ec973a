// A market-data plugin: an Extism module with functions of its own beside what tokens need.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o market.wasm .
//
// The host makes a fresh instance for every call, gives it the connection's settings by plugin_configure, calls one
// function, and closes it. So the settings are a global variable, and nothing is remembered from one call to the next.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	pdk "github.com/extism/go-pdk"
)

// settings are what a connection is made of. Numbers may come as texts: connections that people type in have only those.
type settings struct {
	APIKey    string      `json:"api_key"`
	APISecret string      `json:"api_secret"`
	BaseURL   string      `json:"base_url"`
	TimeoutMS json.Number `json:"timeout_ms"`
	RateLimit json.Number `json:"rate_limit"`
}

var configured *settings

//go:wasmexport plugin_configure
func pluginConfigure() int32 {
	var given settings
	if err := pdk.InputJSON(&given); err != nil {
		return failed(errors.New("the settings are not the JSON object that is expected"))
	}
	if given.APIKey == "" || given.APISecret == "" {
		return failed(errors.New("api_key and api_secret are needed"))
	}
	base, err := url.Parse(given.BaseURL)
	if err != nil || base.Host == "" {
		return failed(errors.New("base_url is no URL"))
	}
	for name, number := range map[string]json.Number{"timeout_ms": given.TimeoutMS, "rate_limit": given.RateLimit} {
		if n, err := strconv.Atoi(number.String()); number != "" && (err != nil || n < 1) {
			return failed(fmt.Errorf("%s is no number above 0", name))
		}
	}
	given.BaseURL = strings.TrimRight(given.BaseURL, "/")
	configured = &given
	return 0
}

type market struct {
	Symbol string `json:"symbol"`
	Base   string `json:"base"`
	Quote  string `json:"quote"`
}

//go:wasmexport list_markets
func listMarkets() int32 {
	var answer struct {
		Markets []market `json:"markets"`
	}
	if err := get("/v1/markets", nil, &answer); err != nil {
		return failed(err)
	}
	return output(answer.Markets)
}

type candle struct {
	Time   int64   `json:"time"`
	Open   float64 `json:"open"`
	High   float64 `json:"high"`
	Low    float64 `json:"low"`
	Close  float64 `json:"close"`
	Volume float64 `json:"volume"`
}

//go:wasmexport get_ohlcv
func getOHLCV() int32 {
	var asked struct {
		Symbol   string `json:"symbol"`
		Interval string `json:"interval"`
		Limit    int    `json:"limit"`
	}
	if err := pdk.InputJSON(&asked); err != nil || asked.Symbol == "" {
		return failed(errors.New("invalid: the input is an object with symbol, interval and limit"))
	}
	if asked.Interval == "" {
		asked.Interval = "1h"
	}
	if asked.Limit == 0 {
		asked.Limit = 100
	}
	query := url.Values{"symbol": {asked.Symbol}, "interval": {asked.Interval}, "limit": {strconv.Itoa(asked.Limit)}}
	var rows [][6]float64 // time, open, high, low, close, volume
	if err := get("/v1/ohlcv", query, &rows); err != nil {
		return failed(err)
	}
	candles := make([]candle, len(rows))
	for i, r := range rows {
		candles[i] = candle{int64(r[0]), r[1], r[2], r[3], r[4], r[5]}
	}
	return output(candles)
}

// resolve makes the last price of a symbol the value of a token: MARKET://BTC-USDT.
//
//go:wasmexport resolve
func resolve() int32 {
	var asked struct {
		References []struct {
			Path string `json:"path"`
		} `json:"references"`
	}
	if err := pdk.InputJSON(&asked); err != nil {
		return failed(errors.New("invalid: the input is no batch of references"))
	}
	answers := make([]map[string]any, len(asked.References))
	for i, reference := range asked.References {
		var ticker struct {
			Last string `json:"last"`
		}
		answers[i] = map[string]any{"reference": i}
		var refusal *refusal
		switch err := get("/v1/ticker", url.Values{"symbol": {reference.Path}}, &ticker); {
		case errors.As(err, &refusal):
			answers[i]["error"] = refusal
		case err != nil:
			return failed(err)
		default:
			answers[i]["value"] = ticker.Last
			answers[i]["ttl"] = 1
		}
	}
	return output(map[string]any{"answers": answers})
}

// refusal is an answer of the exchange that has a kind of its own; as text it is what the host understands, too.
type refusal struct {
	Kind       string  `json:"kind"`
	Message    string  `json:"message"`
	RetryAfter float64 `json:"retry_after,omitempty"`
}

func (r *refusal) Error() string {
	if r.RetryAfter > 0 {
		return fmt.Sprintf("%s %.3f: %s", r.Kind, r.RetryAfter, r.Message)
	}
	return r.Kind + ": " + r.Message
}

func get(path string, query url.Values, into any) error {
	target := configured.BaseURL + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	timeout, _ := configured.TimeoutMS.Int64() // pluginConfigure has looked at both; without one it is 0, for none
	rate, _ := configured.RateLimit.Float64()
	status, headers, body := request{
		URL:       target,
		Method:    "GET",
		Headers:   map[string]string{"X-Api-Key": configured.APIKey, "X-Api-Secret": configured.APISecret},
		TimeoutMS: timeout,
		RateLimit: rate,
	}.send()
	switch {
	case status == 200:
	case status == 401:
		return &refusal{Kind: "credentials", Message: "the exchange does not know the api_key"}
	case status == 403:
		return &refusal{Kind: "denied", Message: "the api_key may not do this"}
	case status == 404:
		return &refusal{Kind: "not_found", Message: "the exchange has no such symbol"}
	case status == 429:
		after, _ := strconv.ParseFloat(headers["retry-after"], 64)
		return &refusal{Kind: "throttled", Message: "the exchange is asked too often", RetryAfter: after}
	default:
		return &refusal{Kind: "unavailable", Message: fmt.Sprintf("the exchange answers HTTP %d", status)}
	}
	if err := json.Unmarshal(body, into); err != nil {
		return &refusal{Kind: "unavailable", Message: "the exchange answers with what is no JSON of its own"}
	}
	return nil
}

func output(answer any) int32 {
	if err := pdk.OutputJSON(answer); err != nil {
		return failed(err)
	}
	return 0
}

func failed(err error) int32 {
	pdk.SetErrorString(err.Error())
	return 1
}

func main() {}
