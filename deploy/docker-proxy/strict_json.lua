-- Reads JSON as strictly as a guard must: what could mean another thing to the engine behind it is refused.
--   local value, why = strict_json.parse(text)     value: table, string, number, boolean; nil: refused
-- Objects are tables of their members; arrays have theirs at 1..n and `array` true in their metatable. Refused beyond
-- what RFC 8259 forbids: a name that is there twice or has a backslash in it, null, more than 32 levels.
local strict_json = {}

local is_array = { array = true }
function strict_json.is_array(value) return type(value) == "table" and getmetatable(value) == is_array end
function strict_json.is_object(value) return type(value) == "table" and getmetatable(value) ~= is_array end

local escapes = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }
local read_value

local function fail(at, why) error({ refused = why .. " at byte " .. at }, 0) end
local function skip(text, at) return text:find("[^ \t\r\n]", at) or #text + 1 end

local function read_string(text, at)
  local out, from = {}, at + 1
  while true do
    local stop = text:find('["\\%c]', from)
    if not stop then fail(at, "a string without an end") end
    out[#out + 1] = text:sub(from, stop - 1)
    local c = text:sub(stop, stop)
    if c == '"' then return table.concat(out), stop + 1 end
    if c ~= "\\" then fail(stop, "a control character") end
    local e = text:sub(stop + 1, stop + 1)
    if e == "u" then
      local hex = text:match("^%x%x%x%x", stop + 2)
      if not hex then fail(stop, "a bad escape") end
      local code = tonumber(hex, 16)
      -- Beyond ASCII the character does not matter: nothing that is allowed by its text has any.
      out[#out + 1] = code < 128 and string.char(code) or "\239\191\189"
      from = stop + 6
    else
      if not escapes[e] then fail(stop, "a bad escape") end
      out[#out + 1] = escapes[e]
      from = stop + 2
    end
  end
end

local function read_object(text, at, depth)
  local out = {}
  at = skip(text, at + 1)
  if text:sub(at, at) == "}" then return out, at + 1 end
  while true do
    if text:sub(at, at) ~= '"' then fail(at, "no name") end
    local name, after = read_string(text, at)
    if text:sub(at, after):find("\\", 1, true) then fail(at, "an escape in a name") end
    if out[name] ~= nil then fail(at, "a name twice") end
    at = skip(text, after)
    if text:sub(at, at) ~= ":" then fail(at, "no colon") end
    out[name], at = read_value(text, skip(text, at + 1), depth)
    at = skip(text, at)
    local c = text:sub(at, at)
    if c == "}" then return out, at + 1 end
    if c ~= "," then fail(at, "no comma") end
    at = skip(text, at + 1)
  end
end

local function read_array(text, at, depth)
  local out = setmetatable({}, is_array)
  at = skip(text, at + 1)
  if text:sub(at, at) == "]" then return out, at + 1 end
  while true do
    out[#out + 1], at = read_value(text, at, depth)
    at = skip(text, at)
    local c = text:sub(at, at)
    if c == "]" then return out, at + 1 end
    if c ~= "," then fail(at, "no comma") end
    at = skip(text, at + 1)
  end
end

function read_value(text, at, depth)
  if depth > 32 then fail(at, "too many levels") end
  local c = text:sub(at, at)
  if c == "{" then return read_object(text, at, depth + 1) end
  if c == "[" then return read_array(text, at, depth + 1) end
  if c == '"' then return read_string(text, at) end
  for word, value in pairs({ ["true"] = true, ["false"] = false }) do
    if text:sub(at, at + #word - 1) == word then return value, at + #word end
  end
  local number = text:match("^-?%d+%.?%d*[eE]?[+-]?%d*", at)
  if not number or not tonumber(number) or number:find("^-?0%d") then fail(at, "no value") end
  return tonumber(number), at + #number
end

function strict_json.parse(text)
  local ok, value, after = pcall(read_value, text, skip(text, 1), 0)
  if not ok then return nil, type(value) == "table" and value.refused or tostring(value) end
  if skip(text, after) <= #text then return nil, "something behind the value" end
  return value
end

return strict_json
