// The first script of the page: it reads the data that all others use, and marks the page as one whose scripts run.
const report = JSON.parse(document.getElementById("report-data").textContent);
document.documentElement.classList.add("scripted");
