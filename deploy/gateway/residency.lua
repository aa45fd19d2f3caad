-- Where a request may be answered, decided from its content and its token. Reads the protobuf as the sites will, and
-- accepts for the public site only what it knows to the last byte: whatever is unknown stays private.
-- BURSTABLE, INPUTS, FILTERS, HEADERS, CLAIMS and LARGEST come before this text, made from the contract, and message.lua.

local SERVICE = "/inference.GRPCInferenceService/"

local function check_filters(json)
  if json:gsub("\\u%x%x%x%x", ""):find("\\", 1, true) then error("filters with escapes", 0) end
  for text, colon in json:gmatch('"([^"]*)"%s*(:?)') do
    if colon == ":" and not FILTERS[text] then error("unknown filters", 0) end
  end
end

local CHECKS = {
  query = element,
  user = function(raw, claim)
    if raw == "\0\0\0\0" then return end
    if CLAIMS[claim] ~= "pseudonyms" or #raw ~= 30 or not element(raw):find("^[a-z2-7]+$") then error("a user", 0) end
  end,
  filters = function(raw)
    check_filters(element(raw))
  end,
  k = function(raw)
    if #raw ~= 4 then error("not one number", 0) end
  end,
  with_payload = function(raw)
    if #raw ~= 1 then error("not one truth value", 0) end
  end,
}

-- What kind of search they are
local function check_inputs(request, claim)
  local inputs, raws, seen, kind = strings(request[5]), strings(request[7]), {}, "anonymous search"
  if #inputs ~= #raws then error("tensors without raw content", 0) end
  for index, text in ipairs(inputs) do
    local input = message(text)
    knows(input, { true, true, true }, "a tensor with parameters or contents")
    local name = one(input, 1)
    if not INPUTS[name] then error("an unknown tensor", 0) end
    if seen[name] then error("a tensor twice", 0) end
    if one(input, 2) ~= INPUTS[name] or one(input, 3) ~= "\1\1" then error("a tensor of another type or shape", 0) end
    seen[name] = true
    CHECKS[name](raws[index], claim)
    if name == "user" and #raws[index] > 4 then kind = "pseudonymous search" end
  end
  return kind
end

local function check_parameters(request)
  for _, text in ipairs(strings(request[4])) do
    local entry = message(text)
    knows(entry, { true, true }, "an unknown parameter")
    local value = message(one(entry, 2))
    knows(value, { [2] = true }, "an unknown parameter")
    if one(entry, 1) ~= "timeout" or #(value[2] or {}) ~= 1 or type(value[2][1]) ~= "number" then
      error("an unknown parameter", 0)
    end
  end
end

local function check_model(request, model, claim)
  if not BURSTABLE[model] then error("a personal model", 0) end
  if not CLAIMS[claim] then error("the token", 0) end
  for _, version in ipairs(strings(request[2])) do
    if version:find("%D") then error("an unknown version", 0) end
  end
end

-- The reason why a request may leave; raises the reason why it must stay private
local function check(request, model, claim)
  check_model(request, model, claim)
  knows(request, { true, true, true, true, true, true, true }, "an unknown field")
  for _, id in ipairs(strings(request[3])) do
    if #id > 128 then error("a long id", 0) end
  end
  for _, output in ipairs(strings(request[6])) do
    knows(message(output), { true }, "an output with parameters")
  end
  check_parameters(request)
  return check_inputs(request, claim)
end

-- Whether a search would be answered may be asked wherever it may be
local function check_model_ready(request, model, claim)
  check_model(request, model, claim)
  knows(request, { true, true }, "an unknown field")
  return "readiness"
end

local function check_server_ready(request, _, claim)
  if not CLAIMS[claim] then error("the token", 0) end
  knows(request, {}, "an unknown field")
  return "readiness"
end

local METHODS = {
  [SERVICE .. "ModelInfer"] = { check = check, named = true },
  [SERVICE .. "ModelReady"] = { check = check_model_ready, named = true },
  [SERVICE .. "ServerReady"] = { check = check_server_ready },
  [SERVICE .. "ServerLive"] = { check = check_server_ready },
}

-- The version that is asked for, if it is a number: of several the last counts
local function version(request)
  local given = request[2] and request[2][#request[2]]
  return type(given) == "string" and given:match("^%d+$") or nil
end

local function note(metadata, found)
  for key, value in pairs(found) do
    metadata:set("shelfbridge", key, value)
  end
end

local function narrow(headers)
  local foreign = {}
  for name in pairs(headers) do
    if name:sub(1, 1) ~= ":" and not HEADERS[name] then table.insert(foreign, name) end
  end
  for _, name in ipairs(foreign) do
    headers:remove(name)
  end
end

local function refuse(handle, reason)
  handle:respond({
    [":status"] = "200",
    ["content-type"] = "application/grpc",
    ["grpc-status"] = "3",
    ["grpc-message"] = "the gateway cannot read this request: " .. reason .. "; send one plain message",
  }, "")
end

function envoy_on_request(handle)
  local method = METHODS[handle:headers():get(":path")]
  if method then
    local readable, request, model = pcall(read, handle, method.named)
    local metadata = handle:streamInfo():dynamicMetadata()
    if not readable then
      note(metadata, { decision = "refused", reason = request })
      return refuse(handle, request)
    end
    local token = (metadata:get("envoy.filters.http.jwt_authn") or {})["jwt_payload"] or {}
    local burstable, reason = pcall(method.check, request, model, token["residency"])
    local decision = burstable and "burstable" or "private"
    note(metadata, { model = model, version = version(request), decision = decision, reason = reason })
    handle:clearRouteCache()
  end
  narrow(handle:headers())
end
