// Results as JUnit XML, which continuous integration services display.
#include <fmt/format.h>
#include <tinyxml2.h>

#include <cstring>

#include "autograd/gradcheck/report/files.h"
#include "autograd/profile/json.h"
#include "core/atomic_file.h"

namespace bobbin::gradcheck_detail {
namespace {

// The text without what XML 1.0 cannot hold: bytes that are not UTF-8, and control characters.
std::string xml_text(std::string_view text) {
  std::string out = utf8(text);
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r') c = '?';
  return out;
}

}  // namespace

void write_junit(const std::filesystem::path& path, std::span<const CheckResult> results) {
  tinyxml2::XMLPrinter xml;
  xml.PushHeader(false, true);
  xml.OpenElement("testsuites");
  for (std::size_t begin = 0, end; begin < results.size(); begin = end) {
    end = begin;
    while (end < results.size() && results[end].op == results[begin].op) ++end;
    const auto suite = results.subspan(begin, end - begin);
    const Summary s = summarize(suite);
    xml.OpenElement("testsuite");
    xml.PushAttribute("name", xml_text(suite.front().op).c_str());
    xml.PushAttribute("tests", s.checks);
    xml.PushAttribute("failures", s.failed + s.inconclusive);
    xml.PushAttribute("skipped", s.skipped);
    for (auto& r : suite) {
      const std::string text = xml_text(fmt::format("{}: {}", name(r.report.verdict), r.report.failure));
      xml.OpenElement("testcase");
      xml.PushAttribute("classname", xml_text(r.op).c_str());
      xml.PushAttribute("name", xml_text(fmt::format("{}, {}", r.sample, r.check)).c_str());
      xml.PushAttribute("time", fmt::format("{:.6f}", r.seconds).c_str());
      if (r.report.verdict != Verdict::pass) {
        xml.OpenElement(r.report.verdict == Verdict::skip ? "skipped" : "failure");
        xml.PushAttribute("message", text.c_str());
        xml.CloseElement();
      }
      xml.CloseElement();
    }
    xml.CloseElement();
  }
  xml.CloseElement();
  AtomicFile file("gradcheck --junit", path);
  file.write(xml.CStr(), std::strlen(xml.CStr()));
  file.commit();
}

}  // namespace bobbin::gradcheck_detail
